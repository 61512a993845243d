"""Waiting for streams in several slots of a Cluster.

XREADGROUP blocks on streams of one slot only. A blocked connection a stream would cost an idle process more commands than all the rest,
and a read that is cut off takes entries along. So nothing blocks here: each append publishes its partition, and a reader
looks at the streams that rang. Messages may be lost with a connection: a new one rings all, and so does `LOOK_S`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from broker.errors import StoreUnavailable
from broker.store import keys
from broker.tasks import end

LOOK_S = 60.0
_AGAIN_S = 0.2


class StreamSignals:
    """Which streams may have something to read. `listen` gives a partition's number, or None for all of them."""

    def __init__(self, listen: Callable[[], AsyncIterator[str | None]]) -> None:
        self._listen = listen
        self._listening: asyncio.Task[None] | None = None
        self._quiet: set[str] = set()
        self._rang = asyncio.Event()
        self._looks_at = 0.0

    async def read(
        self,
        streams: Sequence[str],
        read: Callable[[Iterable[str]], Awaitable[list[Any]]],
        *,
        count: int,
        wait_s: float,
    ) -> list[Any]:
        """What `read` finds in those of the streams that may have something; waits for that, but not longer than `wait_s`."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._keep_listening(), name="rings")
        deadline = time.monotonic() + wait_s
        while True:
            self._rang.clear()
            if time.monotonic() >= self._looks_at:
                self._quiet.clear()
                self._looks_at = time.monotonic() + LOOK_S
            ready = [stream for stream in streams if stream not in self._quiet]
            # before the read: what rings from here on is looked at again
            self._quiet.update(ready)
            try:
                rows = await read(ready) if ready else []
            except BaseException:
                self._quiet.difference_update(ready)
                raise
            if rows:
                full = {stream.decode() for stream, entries in rows if len(entries) >= count}
                self._quiet -= full
                return rows
            try:
                async with asyncio.timeout(min(deadline, self._looks_at) - time.monotonic()):
                    await self._rang.wait()
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return []

    async def _keep_listening(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                async for message in self._listen():
                    if message is None:
                        self._quiet.clear()
                    else:
                        self._quiet.discard(keys.changes(int(message)))
                    self._rang.set()
            await asyncio.sleep(_AGAIN_S)

    async def aclose(self) -> None:
        if self._listening is not None:
            await end([self._listening])
            self._listening = None
