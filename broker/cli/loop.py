"""Runs the coroutine of a command on uvloop. SIGTERM and Ctrl-C ask it to stop."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run(
    command: Callable[[asyncio.Event], Awaitable[T]], report: Callable[[T], object] = lambda _result: None
) -> T:
    """Runs `command` with an event that is set when the user asks it to stop; a second signal ends the
    process at once.

    `report` gets the result. Then, after Ctrl-C, `KeyboardInterrupt` is raised, so that the exit code says
    how the command ended. SIGTERM is the usual end of a service and changes no exit code.
    """
    received: list[int] = []

    async def with_signals() -> T:
        stop = asyncio.Event()

        def request_stop(number: int) -> None:
            if received:
                raise KeyboardInterrupt
            received.append(number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, request_stop, number)
        return await command(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(with_signals())
    report(result)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    return result
