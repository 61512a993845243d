"""Waits for streams that lie in several slots of a Cluster.

XREAD blocks on streams of one slot only. One blocked connection for each stream would cost an idle process
more commands than everything else it does. So nothing blocks here: every append publishes its partition
(`Store.append_channel`), and a reader reads the streams that were signalled, and those that it reads from
another position than before. A lost connection may lose messages: a new one signals all streams, and so does
`RECHECK_S`. `ClusterStreamReader` is the caller.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.failures import translated
from broker.store.protocol import StreamRow
from broker.store.stream_id import text_of
from broker.tasks import end

RECHECK_S = 60.0
"""How often all streams are read although nothing signalled them."""
_RECONNECT_S = 0.2


class StreamSignals:
    """Which streams may have new entries. `subscribe` yields a partition's number, or None for all
    partitions.
    """

    def __init__(self, subscribe: Callable[[], AsyncIterator[str | None]]) -> None:
        self._subscribe = subscribe
        self._listening: asyncio.Task[None] | None = None
        self._ends: dict[str, str] = {}
        """The last entry of each stream that has no later one, as far as is known."""
        self._signal = asyncio.Event()
        self._recheck_at = 0.0

    async def read(
        self,
        positions: Mapping[str, str],
        read: Callable[[Mapping[str, str]], Awaitable[list[StreamRow]]],
        *,
        count: int,
        wait_s: float,
    ) -> list[StreamRow]:
        """What `read` returns for the streams that may have entries after their positions; waits up to
        `wait_s` until it returns some.

        `count` is the number of entries that `read` asks of each stream: a stream that returns so many may
        have more.
        """
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="stream signals")
        deadline = time.monotonic() + wait_s
        while True:
            self._signal.clear()
            if time.monotonic() >= self._recheck_at:
                self._ends.clear()
                self._recheck_at = time.monotonic() + RECHECK_S
            ready = {stream: at for stream, at in positions.items() if self._ends.get(stream) != at}
            # before the read: a stream that is signalled from here on is read again
            self._ends.update(ready)
            try:
                rows = await read(ready) if ready else []
            except BaseException:
                for stream in ready:
                    self._ends.pop(stream, None)
                raise
            if rows:
                for name, entries in rows:
                    self._record_end(name.decode(), text_of(entries[-1][0]), has_more=len(entries) >= count)
                return rows
            try:
                async with asyncio.timeout(min(deadline, self._recheck_at) - time.monotonic()):
                    await self._signal.wait()
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return []

    def _record_end(self, stream: str, last: str, *, has_more: bool) -> None:
        if has_more:
            self._ends.pop(stream, None)
        elif stream in self._ends:  # else it was signalled during the read
            self._ends[stream] = last

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable), translated():
                async for partition in self._subscribe():
                    if partition is None:
                        self._ends.clear()
                    else:
                        self._ends.pop(keys.changes(int(partition)), None)
                    self._signal.set()
            await asyncio.sleep(_RECONNECT_S)

    async def close(self) -> None:
        if self._listening is not None:
            await end([self._listening])
            self._listening = None
