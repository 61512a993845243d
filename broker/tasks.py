"""Task idioms: end tasks, work until a stop event, restart a loop that failed.

`asyncio.wait_for` of Python 3.11, which redis-py uses for each command, drops a cancellation that arrives together with the
result; a task that loops then goes on. Asking until it has ended can't be dropped. To be removed when 3.12 is the oldest Python.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog

_log = structlog.get_logger(__name__)
_RESTART_S = 1.0
_TOLD_S = 10.0

_AGAIN_S = 0.2


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels and waits; whatever they raise stays with them."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


async def work_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Lets it work until `stop`, or until this is cancelled, and returns when it has ended."""
    working = asyncio.create_task(work)
    try:
        await stop.wait()
    finally:
        await end([working])


class SupervisedTask:
    """One loop, as a task, until `stop`. `state` is what /readyz tells of it."""

    def __init__(self, name: str, loop: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        self._name = name
        self._loop = loop
        self._stop = stop
        self._failed_at = -_TOLD_S
        self._reason = ""
        self.task = asyncio.create_task(self._run(), name=name)

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._loop()
            except Exception as error:  # noqa: BLE001 one failed round must not end the process
                self._failed_at, self._reason = time.monotonic(), type(error).__name__
                _log.exception("worker failed; it starts again", worker=self._name)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RESTART_S):
                        await self._stop.wait()

    def state(self) -> str:
        """`ok`, or what is wrong."""
        if self.task.done():
            return "has ended"
        if time.monotonic() - self._failed_at < _TOLD_S:
            return f"failed ({self._reason}) and was started again"
        return "ok"
