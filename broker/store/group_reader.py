"""Reads consumer groups: from one server, and from a Cluster whose streams lie in several slots."""

from collections.abc import Iterable, Mapping

from broker.store.batcher import Batcher
from broker.store.failures import translating
from broker.store.protocol import Argument, StreamRow
from broker.store.replies import rows_of
from broker.store.routing import Router, by_slot
from broker.store.stream_signals import StreamSignals


class ServerGroupReader:
    """Implements `protocol.GroupReader` for one server, which blocks until a stream has an entry."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    @translating
    async def read(
        self, group: str, consumer: str, positions: Mapping[str, str], *, count: int, block_ms: int | None
    ) -> list[StreamRow]:
        blocking: tuple[Argument, ...] = () if block_ms is None else ("BLOCK", block_ms)
        command = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *blocking)
        (answer,) = await self._batcher.exchange(
            [(*command, "STREAMS", *positions.keys(), *positions.values())], retry=False
        )
        if isinstance(answer, Exception):
            raise answer
        return rows_of(answer)

    async def close(self) -> None:
        await self._batcher.close()


class ClusterGroupReader:
    """Implements `protocol.GroupReader` for a Cluster.

    It blocks in the server only when all streams lie in one slot. Otherwise it waits for a signal
    (`StreamSignals`).
    """

    def __init__(self, router: Router, signals: StreamSignals) -> None:
        self._router = router
        self._signals = signals

    @translating
    async def read(
        self, group: str, consumer: str, positions: Mapping[str, str], *, count: int, block_ms: int | None
    ) -> list[StreamRow]:
        verb: list[Argument] = ["XREADGROUP", "GROUP", group, consumer, "COUNT", count]
        if block_ms is None:
            return await self._router.read_streams(verb, positions)
        if len(by_slot(positions)) == 1:
            return await self._router.read_streams([*verb, "BLOCK", block_ms], positions)

        async def read_some(streams: Iterable[str]) -> list[StreamRow]:
            return await self._router.read_streams(verb, {stream: positions[stream] for stream in streams})

        return await self._signals.read(list(positions), read_some, count=count, wait_s=block_ms / 1000)

    async def close(self) -> None:
        await self._signals.close()
        await self._router.close()
