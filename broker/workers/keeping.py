"""Keeps a worker loop running: one that fails is logged and started again, and says so for a while."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger(__name__)
_RESTART_S = 1.0
_TOLD_S = 10.0


class KeptLoop:
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
