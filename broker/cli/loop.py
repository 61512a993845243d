"""Runs the coroutine of a command on uvloop. SIGTERM and Ctrl-C ask it to stop; they are no errors."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run(command: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Runs `command` with an event that is set when the user asks it to stop; a second signal ends the
    process at once.
    """

    async def with_signals() -> T:
        stop = asyncio.Event()

        def request_stop() -> None:
            if stop.is_set():
                sys.exit(130)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, request_stop)
        return await command(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(with_signals())
