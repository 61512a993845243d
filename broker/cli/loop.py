"""Runs a command's coroutine: uvloop where there is one, and SIGTERM and Ctrl-C as a request to stop, not as an error."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run(command: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """`command` is given the event that is set when the user wants it to stop. A second Ctrl-C ends it at once."""

    async def with_signals() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask() -> None:
            if stop.is_set():
                sys.exit(130)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask)
        return await command(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(with_signals())
