"""A reader of streams in several slots reads those that were signalled, and misses none."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from broker.store import keys
from broker.store.protocol import StreamRow
from broker.store.stream_signals import StreamSignals

STREAMS = [keys.changes(0), keys.changes(1)]


class FakeStreams:
    """Streams with entries, which `append` adds and signals."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self.reads: list[list[str]] = []
        self.messages: asyncio.Queue[str | None] = asyncio.Queue()

    def append(self, partition: int, count: int = 1) -> None:
        self.entries[keys.changes(partition)] += count
        self.messages.put_nowait(str(partition))

    async def subscribe(self) -> AsyncIterator[str | None]:
        while True:
            yield await self.messages.get()

    async def read(self, streams: Iterable[str], count: int = 1) -> list[StreamRow]:
        self.reads.append(list(streams))
        rows: list[StreamRow] = []
        for stream in self.reads[-1]:
            taken = min(count, self.entries[stream])
            self.entries[stream] -= taken
            if taken:
                rows.append((stream.encode(), [(b"1-0", {})] * taken))
        return rows


@pytest.fixture
async def streams() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
async def signals(streams: FakeStreams) -> AsyncIterator[StreamSignals]:
    signals = StreamSignals(streams.subscribe)
    yield signals
    await signals.close()


async def read(signals: StreamSignals, streams: FakeStreams, wait_s: float = 5.0) -> list[bytes]:
    rows = await signals.read(STREAMS, streams.read, count=1, wait_s=wait_s)
    return [stream for stream, _ in rows]


async def test_the_first_read_looks_at_every_stream_and_later_ones_at_signalled_streams(
    signals: StreamSignals, streams: FakeStreams
) -> None:
    assert await read(signals, streams, wait_s=0.01) == []
    assert streams.reads == [STREAMS]
    waiting = asyncio.ensure_future(read(signals, streams))
    await asyncio.sleep(0)
    streams.append(1)
    assert await waiting == [b"{p01}:changes"]
    assert streams.reads[1:] == [[STREAMS[1]]]


async def test_a_stream_that_returned_as_many_entries_as_asked_is_read_again(
    signals: StreamSignals, streams: FakeStreams
) -> None:
    streams.entries[STREAMS[0]] = 2
    assert await read(signals, streams) == [b"{p00}:changes"]
    assert await read(signals, streams) == [b"{p00}:changes"], "without a signal"


async def test_a_new_subscription_signals_every_stream(signals: StreamSignals, streams: FakeStreams) -> None:
    assert await read(signals, streams, wait_s=0.01) == []
    streams.entries[STREAMS[0]] = 1  # its message was lost
    streams.messages.put_nowait(None)
    assert await read(signals, streams) == [b"{p00}:changes"]


async def test_streams_of_a_failed_read_are_read_again(signals: StreamSignals, streams: FakeStreams) -> None:
    async def fail(_: Iterable[str]) -> list[StreamRow]:
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        await signals.read(STREAMS, fail, count=1, wait_s=1)
    streams.entries[STREAMS[1]] = 1
    assert await read(signals, streams) == [b"{p01}:changes"]
