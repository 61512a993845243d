"""The reports of all processes of the last hour: one stream, which is trimmed by every report.

A lost report is a gap in a chart, so nothing here is durable.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from broker.model.activity import INTERVAL_S, ActivitySample
from broker.store import keys, stream_id
from broker.store.protocol import Command, Store
from broker.store.replies import entries_of
from broker.store.stream_id import StreamId

KEEP_MS = 65 * 60 * 1000
_PAGE = 10_000
_TURN_MS = round(INTERVAL_S * 900)
"""A little shorter than the interval, so that each interval has a turn."""
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(ActivitySample)


class RecordedSample(NamedTuple):
    """A report, and when the store got it."""

    at_ms: int
    sample: ActivitySample


class Activity:
    """Writes and reads. Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take_turn(self, process: str) -> bool:
        """Whether this process reports the totals of this interval."""
        (answer,) = await self._store.send([("SET", keys.ACTIVITY_TURN, process, "NX", "PX", _TURN_MS)])
        return answer is not None

    async def append(self, sample: ActivitySample) -> None:
        ((seconds, _),) = await self._store.send([("TIME",)])
        oldest = int(seconds) * 1000 - KEEP_MS
        command: Command = ("XADD", keys.ACTIVITY, "MINID", "~", oldest, "*", "r", _encoder.encode(sample))
        await self._store.send([command])

    async def read(self, since: str = stream_id.FIRST) -> tuple[Sequence[RecordedSample], str]:
        """The reports from an id on, oldest first, and the id from which the next call continues."""
        samples: list[RecordedSample] = []
        while True:
            (reply,) = await self._store.send(
                [("XRANGE", keys.ACTIVITY, since, stream_id.LAST, "COUNT", _PAGE)]
            )
            entries = list(entries_of(reply))
            for entry_id, fields in entries:
                samples.append(RecordedSample(StreamId.parse(entry_id).ms, _decoder.decode(fields[b"r"])))
                since = stream_id.after(entry_id)
            if len(entries) < _PAGE:
                return samples, since
