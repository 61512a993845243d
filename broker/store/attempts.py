"""The log of the attempts to send notifications: the last ones of each subscription, those that failed apart.

`commit.lua` writes an attempt with the decision about it, so the log costs no round trip and no attempt is
decided about without being in it. Readers merge the two streams of a subscription. The housekeeper calls
`trim`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import NamedTuple

from broker.model.attempt import Attempt, AttemptText
from broker.model.subscription import SubscriptionKey
from broker.store import attempt_keys, stream_id
from broker.store.attempt_records import (
    AttemptLimits,
    NewAttempt,
    attempt_id,
    decode_text,
    place,
    read_attempt,
)
from broker.store.bodies import UNSEALED, Bodies
from broker.store.protocol import Command, Store
from broker.store.replies import mapping_of
from broker.store.scripts import attempts as scripts
from broker.store.stream_id import StreamId
from broker.store.subscription_ids import SubscriptionIds

_PAGE = 500
_DELIVERED, _FAILED = "d", "f"


@dataclass(frozen=True, slots=True)
class AttemptAges:
    """How long attempts are kept that delivered, and that failed, and how long texts are (ms)."""

    delivered_ms: int
    failed_ms: int
    texts_ms: int


class _Position(NamedTuple):
    """The place of an attempt among all of its subscription, which are ordered by when they were written. The
    two streams may have entries of one id: a failure comes before a success, since the commit of an attempt
    writes an earlier one that left no result too.
    """

    entry: StreamId
    is_delivered: bool

    @property
    def kind(self) -> str:
        return _DELIVERED if self.is_delivered else _FAILED

    @classmethod
    def parse(cls, text: str) -> "_Position":
        """Reads the id of an attempt. Raises `ValueError`."""
        position = cls(StreamId.parse(text.removesuffix(_FAILED)), not text.endswith(_FAILED))
        if attempt_id(position.kind, str(position.entry)) != text or max(position.entry) >= 1 << 64:
            raise ValueError(text)
        return position


class _Row(NamedTuple):
    """An entry of one of the streams."""

    position: _Position
    flat: Sequence[bytes]


class Attempts:
    """Of one store. `bodies` opens the texts."""

    def __init__(self, store: Store, limits: AttemptLimits, bodies: Bodies = UNSEALED) -> None:
        self._store = store
        self._limits = limits
        self._bodies = bodies

    async def append(self, subscription: SubscriptionKey, attempts: Sequence[NewAttempt]) -> None:
        """Writes attempts that no claim stands for."""
        await scripts.append_attempts(self._store, subscription, attempts, self._limits)

    async def read(
        self,
        subscription: SubscriptionKey,
        wanted: Callable[[Attempt], bool],
        *,
        before: str = "",
        count: int,
        only_failed: bool = False,
    ) -> list[Attempt]:
        """The newest `count` attempts that are wanted, before the attempt with the id `before` if there is
        one. Raises `ValueError` for an id that none can have.
        """
        bound = _Position.parse(before) if before else None
        kinds = (_FAILED,) if only_failed else (_DELIVERED, _FAILED)
        shard = self._store.layout.shard_of(*subscription)
        names = attempt_keys.of_subscription(shard, subscription)
        head: list[Command] = [("HGETALL", names.requests), ("HKEYS", names.texts)]
        requests, texts = await self._store.send(head)
        stored, with_text = mapping_of(requests), frozenset(texts)
        found: list[Attempt] = []
        while len(found) < count:
            rows = await self._rows(shard, subscription, bound, kinds)
            for attempt in self._attempts(rows, stored, with_text):
                if wanted(attempt) and len(found) < count:
                    found.append(attempt)
            if len(rows) < _PAGE:
                break
            bound = rows[-1].position
        return found

    async def find(self, subscription: SubscriptionKey, wanted_id: str) -> Attempt | None:
        """The attempt with that id. Raises `ValueError` as `read`."""
        position = _Position.parse(wanted_id)
        entry = str(position.entry)
        shard = self._store.layout.shard_of(*subscription)
        names = attempt_keys.of_subscription(shard, subscription)
        stream = names.delivered if position.is_delivered else names.failed
        commands: list[Command] = [
            ("XRANGE", stream, entry, entry),
            ("HGETALL", names.requests),
            ("HEXISTS", names.texts, f"{position.kind}{entry}"),
        ]
        entries, requests, has_text = await self._store.send(commands)
        if not entries:
            return None
        flat = entries[0][1]
        return read_attempt(position.kind, entry, flat, mapping_of(requests), has_text=bool(has_text))

    async def text(self, subscription: SubscriptionKey, wanted_id: str) -> AttemptText | None:
        """What was sent and answered in the attempt; None where that is not stored. Raises what
        `Bodies.unpack` raises, and `ValueError` as `read`.
        """
        position = _Position.parse(wanted_id)
        shard = self._store.layout.shard_of(*subscription)
        name = f"{position.kind}{position.entry}"
        (packed,) = await self._store.send(
            [("HGET", attempt_keys.of_subscription(shard, subscription).texts, name)]
        )
        if packed is None:
            return None
        return decode_text(self._bodies.unpack(packed, subscription[0], place(subscription)))

    async def trim(self, ages: AttemptAges) -> None:
        """Removes what is too old or too much, of all subscriptions. May run twice and be interrupted."""
        (reply,) = await self._store.send([("TIME",)])
        now_ms = int(reply[0]) * 1000 + int(reply[1]) // 1000
        for shard in range(self._store.layout.shards):
            async for page in SubscriptionIds(self._store).in_shard(shard):
                await scripts.trim_attempts(
                    self._store,
                    shard,
                    page,
                    self._limits,
                    delivered_ms=now_ms - ages.delivered_ms,
                    failed_ms=now_ms - ages.failed_ms,
                    texts_ms=now_ms - ages.texts_ms,
                )

    async def _rows(
        self, shard: int, subscription: SubscriptionKey, bound: _Position | None, kinds: Sequence[str]
    ) -> list[_Row]:
        """Up to `_PAGE` entries before the bound, the newest first."""
        streams_of = attempt_keys.of_subscription(shard, subscription)
        names = {_DELIVERED: streams_of.delivered, _FAILED: streams_of.failed}
        commands: list[Command] = [
            ("XREVRANGE", names[kind], _high(kind, bound), stream_id.FIRST, "COUNT", _PAGE) for kind in kinds
        ]
        replies = await self._store.send(commands)
        streams: list[Iterable[_Row]] = [
            [_Row(_Position(StreamId.parse(entry), kind == _DELIVERED), flat) for entry, flat in entries]
            for kind, entries in zip(kinds, replies, strict=True)
        ]
        return list(merge(*streams, key=lambda row: row.position, reverse=True))[:_PAGE]

    def _attempts(
        self, rows: Sequence[_Row], requests: Mapping[bytes, bytes], texts: frozenset[bytes]
    ) -> Iterable[Attempt]:
        for position, flat in rows:
            entry = str(position.entry)
            has_text = f"{position.kind}{entry}".encode() in texts
            yield read_attempt(position.kind, entry, flat, requests, has_text=has_text)


def _high(kind: str, bound: _Position | None) -> str:
    """The largest id of a stream that lies before the bound."""
    if bound is None:
        return stream_id.LAST
    is_before = kind == _FAILED and bound.is_delivered
    return str(bound.entry) if is_before else stream_id.after(str(bound.entry))
