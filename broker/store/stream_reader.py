"""Reads streams and waits for their entries: of one server, and of a Cluster whose streams lie in several
slots.
"""

from collections.abc import Mapping, Sequence

from broker.store.batcher import Batcher
from broker.store.failures import translating
from broker.store.protocol import Argument, StreamRow
from broker.store.replies import rows_of
from broker.store.routing import Router, by_slot
from broker.store.stream_signals import StreamSignals


def verb_of(group: str | None) -> Sequence[Argument]:
    """The command that reads streams: for a consumer group, whose one consumer has its name, or for none."""
    return ("XREAD",) if group is None else ("XREADGROUP", "GROUP", group, group)


class ServerStreamReader:
    """Implements `protocol.StreamReader` for one server, which blocks until a stream has an entry."""

    def __init__(self, batcher: Batcher, verb: Sequence[Argument]) -> None:
        self._batcher = batcher
        self._verb = verb

    @translating
    async def read(
        self, positions: Mapping[str, str], *, count: int, block_ms: int | None
    ) -> list[StreamRow]:
        blocking: tuple[Argument, ...] = () if block_ms is None else ("BLOCK", block_ms)
        command = (*self._verb, "COUNT", count, *blocking, "STREAMS", *positions.keys(), *positions.values())
        (answer,) = await self._batcher.exchange([command], retry=False)
        if isinstance(answer, Exception):
            raise answer
        return rows_of(answer)

    async def close(self) -> None:
        await self._batcher.close()


class ClusterStreamReader:
    """Implements `protocol.StreamReader` for a Cluster.

    It blocks in the server only when all streams lie in one slot. Otherwise it waits for a signal
    (`StreamSignals`).
    """

    def __init__(self, router: Router, signals: StreamSignals, verb: Sequence[Argument]) -> None:
        self._router = router
        self._signals = signals
        self._verb = verb

    @translating
    async def read(
        self, positions: Mapping[str, str], *, count: int, block_ms: int | None
    ) -> list[StreamRow]:
        verb: list[Argument] = [*self._verb, "COUNT", count]
        if block_ms is None:
            return await self._router.read_streams(verb, positions)
        if len(by_slot(positions)) == 1:
            return await self._router.read_streams([*verb, "BLOCK", block_ms], positions)

        async def read_some(some: Mapping[str, str]) -> list[StreamRow]:
            return await self._router.read_streams(verb, some)

        return await self._signals.read(positions, read_some, count=count, wait_s=block_ms / 1000)

    async def close(self) -> None:
        await self._signals.close()
        await self._router.close()
