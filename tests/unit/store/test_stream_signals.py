"""A reader of streams in several slots reads those that were signalled, and misses none."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from redis.exceptions import ConnectionError as ConnectionLost

from broker.store import keys
from broker.store.protocol import StreamRow
from broker.store.stream_signals import StreamSignals

STREAMS = [keys.changes(0), keys.changes(1)]


class FakeStreams:
    """Streams whose entries are numbered, which `append` adds and signals."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self.reads: list[list[str]] = []
        self.messages: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    def append(self, partition: int, count: int = 1) -> None:
        self.entries[keys.changes(partition)] += count
        self.messages.put_nowait(str(partition))

    async def subscribe(self) -> AsyncIterator[str | None]:
        while True:
            message = await self.messages.get()
            if isinstance(message, Exception):
                raise message
            yield message

    async def read(self, positions: Mapping[str, str]) -> list[StreamRow]:
        """The next entry of each stream."""
        self.reads.append(list(positions))
        after = {stream: int(position.removesuffix("-0")) for stream, position in positions.items()}
        return [
            (stream.encode(), [(f"{number + 1}-0".encode(), {})])
            for stream, number in after.items()
            if number < self.entries[stream]
        ]


@pytest.fixture
async def streams() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
async def signals(streams: FakeStreams) -> AsyncIterator[StreamSignals]:
    signals = StreamSignals(streams.subscribe)
    yield signals
    await signals.close()


async def read(
    signals: StreamSignals,
    streams: FakeStreams,
    positions: tuple[int, int] = (0, 0),
    *,
    count: int = 2,
    wait_s: float = 60.0,
) -> list[str]:
    """The streams that have an entry after their positions."""
    after = {stream: f"{number}-0" for stream, number in zip(STREAMS, positions, strict=True)}
    rows = await signals.read(after, streams.read, count=count, wait_s=wait_s)
    return [stream.decode() for stream, _ in rows]


async def test_the_first_read_looks_at_every_stream_and_later_ones_at_signalled_streams(
    signals: StreamSignals, streams: FakeStreams
) -> None:
    assert await read(signals, streams, wait_s=0.01) == []
    assert streams.reads == [STREAMS]
    waiting = asyncio.ensure_future(read(signals, streams))
    await asyncio.sleep(0)
    streams.append(1)
    assert await waiting == [STREAMS[1]]
    assert streams.reads[1:] == [[STREAMS[1]]]


async def test_a_stream_that_returned_as_many_entries_as_asked_is_read_again(
    signals: StreamSignals, streams: FakeStreams
) -> None:
    streams.entries[STREAMS[0]] = 2
    assert await read(signals, streams, count=1) == [STREAMS[0]]
    assert await read(signals, streams, (1, 0), count=1) == [STREAMS[0]], "without a signal"


async def test_a_stream_is_read_again_from_another_position_than_its_end(
    signals: StreamSignals, streams: FakeStreams
) -> None:
    streams.entries[STREAMS[0]] = 1
    assert await read(signals, streams) == [STREAMS[0]]
    assert await read(signals, streams) == [STREAMS[0]], "the position has not moved"
    assert await read(signals, streams, (1, 0), wait_s=0.01) == []
    assert streams.reads[2:] == [], "it is at the end"


async def test_a_new_subscription_signals_every_stream(signals: StreamSignals, streams: FakeStreams) -> None:
    assert await read(signals, streams, wait_s=0.01) == []
    streams.entries[STREAMS[0]] = 1  # its message was lost
    streams.messages.put_nowait(None)
    assert await read(signals, streams) == [STREAMS[0]]


@pytest.mark.parametrize("failure", [ConnectionLost("the node was killed"), OSError(111, "refused")])
async def test_a_subscription_that_fails_is_replaced(
    signals: StreamSignals, streams: FakeStreams, failure: Exception
) -> None:
    assert await read(signals, streams, wait_s=0.01) == []
    streams.messages.put_nowait(failure)
    streams.append(1)
    assert await read(signals, streams) == [STREAMS[1]]
    assert streams.reads[1:] == [[STREAMS[1]]]


async def test_streams_of_a_failed_read_are_read_again(signals: StreamSignals, streams: FakeStreams) -> None:
    async def fail(_: Mapping[str, str]) -> list[StreamRow]:
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        await signals.read(dict.fromkeys(STREAMS, "0-0"), fail, count=1, wait_s=1)
    streams.entries[STREAMS[1]] = 1
    assert await read(signals, streams) == [STREAMS[1]]
