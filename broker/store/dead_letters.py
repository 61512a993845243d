"""Dead letters: changes that broke the matcher, events that can't be rendered, refused inbox entries, and
quarantined readings.

They wait for an operator, who lists them here by tenant, in a stable order, and redrives or discards them
(`dead_letter_actions.py`). An inbox entry that names no valid tenant belongs to nobody: it is not listed.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from broker.model.change import Tenant, VersionKey
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import keys, stream_id
from broker.store.bodies import UNSEALED, Bodies
from broker.store.dead_events import DeadEvent, DeadEventTexts
from broker.store.dead_letter_id import (
    DeadChangeId,
    DeadEventId,
    DeadInboxId,
    DeadLetterId,
    DeadLetterKind,
    DeadReadingId,
    parse_dead_letter_id,
)
from broker.store.protocol import Command, Store
from broker.store.quarantined_payloads import Quarantined, QuarantinedPayloads
from broker.store.records import event_of, logged_change
from broker.store.replies import entries_of
from broker.store.resources import Resources
from broker.store.stream_id import StreamId

_log = structlog.get_logger(__name__)
_PAGE = 200
MAX_EXAMINED = 2_000
"""So many dead letters does one page look at, however few of them its filter includes."""
_NOT_OF_GATEWAY = {b"entry", b"reason", b"outcome"}


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters of a tenant; all of them by default."""

    kind: DeadLetterKind | None = None
    subscription: SubscriptionId | None = None
    reason: str = ""
    """The reason of quarantined readings; only these have one of a few words."""

    def includes(self, kind: DeadLetterKind) -> bool:
        if self.reason and kind is not DeadLetterKind.READING:
            return False
        return self.kind in {None, kind} and (self.subscription is None or kind is DeadLetterKind.EVENT)

    def passes(self, dead_letter: "DeadLetter") -> bool:
        """Whether one of an included kind, and of the subscription, has the reason."""
        return self.reason in {"", dead_letter.reason.partition(":")[0]}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `at_ms` is when it became one; `focus` the version it is about where that is known.

    `is_kept`: what a redrive needs is still stored; `is_waiting`: a redrive was asked for and is under way.
    `entry` is the inbox entry as the gateway wrote it, or the payload of a reading and what is known of it.
    `explanation` is what the receiver of an event said about it, which only `DeadLetters.get` reads;
    `has_explanation` says whether there is one.
    """

    key: DeadLetterId
    kind: DeadLetterKind
    tenant: Tenant
    at_ms: int
    reason: str
    focus: VersionKey | None = None
    subscription: SubscriptionId | None = None
    number: int = 0
    is_kept: bool = True
    is_waiting: bool = False
    entry: Mapping[bytes, bytes] | None = None
    has_explanation: bool = False
    explanation: bytes = b""

    @property
    def id(self) -> str:
        return str(self.key)


class DeadLetters:
    """Lists dead letters and finds one by id. `bodies` open the payloads of readings, and what receivers said
    about events.
    """

    def __init__(self, store: Store, bodies: Bodies = UNSEALED) -> None:
        self._store = store
        self._payloads = QuarantinedPayloads(store, bodies)
        self._texts = DeadEventTexts(bodies)

    async def walk(
        self, tenant: Tenant, where: DeadLetterFilter, after: str = ""
    ) -> AsyncIterator[DeadLetter]:
        """Dead letters behind the id `after`, page by page: changes, then events, then inbox entries, then
        readings.
        """
        async for dead_letter in self._examine(tenant, where, after, _PAGE):
            if where.passes(dead_letter):
                yield dead_letter

    async def page(
        self, tenant: Tenant, where: DeadLetterFilter, after: str, count: int
    ) -> tuple[list[DeadLetter], str]:
        """At most `count` of what `walk` gives, and the `after` that continues it; '' at its end.

        It reads not many more than it gives, and looks at `MAX_EXAMINED` at most: then it gives fewer, or
        none.
        """
        found: list[DeadLetter] = []
        examined, last = 0, ""
        async with aclosing(self._examine(tenant, where, after, min(_PAGE, count + 1))) as dead_letters:
            async for dead_letter in dead_letters:
                if len(found) == count or examined == MAX_EXAMINED:
                    return found, last
                examined, last = examined + 1, dead_letter.id
                if where.passes(dead_letter):
                    found.append(dead_letter)
        return found, ""

    async def _examine(
        self, tenant: Tenant, where: DeadLetterFilter, after: str, count: int
    ) -> AsyncGenerator[DeadLetter]:
        """As `walk`, whatever the reason of readings; reads `count` at a time."""
        start = parse_dead_letter_id(after)
        if where.includes(DeadLetterKind.CHANGE) and (start is None or isinstance(start, DeadChangeId)):
            async for dead_letter in self._walk_changes(tenant, start, count):
                yield dead_letter
        is_behind_events = isinstance(start, DeadInboxId | DeadReadingId)
        if where.includes(DeadLetterKind.EVENT) and not is_behind_events:
            behind = start if isinstance(start, DeadEventId) else None
            async for dead_letter in self._walk_events(tenant, where.subscription, behind, count):
                yield dead_letter
        if where.includes(DeadLetterKind.INBOX) and not isinstance(start, DeadReadingId):
            bound = stream_id.after(start.entry) if isinstance(start, DeadInboxId) else stream_id.FIRST
            while page := await self._page_of_inbox(tenant, bound, count=count):
                for dead_letter in page:
                    yield dead_letter
                bound = stream_id.after(page[-1].key.position)
        if where.includes(DeadLetterKind.READING):
            bound = stream_id.after(start.entry) if isinstance(start, DeadReadingId) else stream_id.FIRST
            async for dead_letter in self._walk_readings(tenant, bound, count):
                yield dead_letter

    async def counts(self, tenant: Tenant) -> Mapping[DeadLetterKind, int]:
        """How many the tenant has of each kind, in one round trip."""
        layout = self._store.layout
        commands: list[Command] = [
            ("XLEN", keys.dead_changes(partition, tenant)) for partition in range(layout.partitions)
        ]
        commands += [("XLEN", keys.refused_inbox(tenant)), ("XLEN", keys.quarantine(tenant))]
        commands += [("HVALS", keys.dead_event_index(shard, tenant)) for shard in range(layout.shards)]
        replies = await self._store.send(commands)
        behind = layout.partitions
        return {
            DeadLetterKind.CHANGE: sum(replies[:behind]),
            DeadLetterKind.EVENT: sum(int(count) for counts in replies[behind + 2 :] for count in counts),
            DeadLetterKind.INBOX: replies[behind],
            DeadLetterKind.READING: replies[behind + 1],
        }

    async def get(self, tenant: Tenant, dead_letter_id: str) -> DeadLetter | None:
        """A dead letter of the tenant, with what the receiver said about an event. Raises `StoreUnavailable`
        if the key for that is missing.
        """
        page: Sequence[DeadLetter] = ()
        match parse_dead_letter_id(dead_letter_id):
            case DeadChangeId(partition, entry) if partition < self._store.layout.partitions:
                page = await self._page_of_changes(tenant, partition, entry, entry)
            case DeadEventId(subscription, number):
                page = await self._page_of_events((tenant, subscription), number, number, in_full=True)
            case DeadInboxId(entry):
                page = await self._page_of_inbox(tenant, entry, entry)
            case DeadReadingId(entry):
                page = [_of_reading(tenant, each) for each in await self._payloads.get(tenant, [entry])]
        return next(iter(page), None)

    async def _walk_readings(self, tenant: Tenant, bound: str, count: int) -> AsyncIterator[DeadLetter]:
        while bound:
            page, bound = await self._payloads.page(tenant, bound, count=count)
            for reading in page:
                yield _of_reading(tenant, reading)

    async def _walk_changes(
        self, tenant: Tenant, start: DeadChangeId | None, count: int
    ) -> AsyncIterator[DeadLetter]:
        for partition in range(start.partition if start else 0, self._store.layout.partitions):
            is_first = start is not None and start.partition == partition
            bound = stream_id.after(start.entry) if start and is_first else stream_id.FIRST
            while page := await self._page_of_changes(tenant, partition, bound, count=count):
                for dead_letter in page:
                    yield dead_letter
                bound = stream_id.after(page[-1].key.position)

    async def _page_of_changes(
        self, tenant: Tenant, partition: int, low: str, high: str = stream_id.LAST, count: int = _PAGE
    ) -> list[DeadLetter]:
        command = ("XRANGE", keys.dead_changes(partition, tenant), low, high, "COUNT", count)
        entries = entries_of((await self._store.send([command]))[0])
        foci = [logged_change(fields).key for _, fields in entries]
        kept = await Resources(self._store).stored(foci)
        return [
            DeadLetter(
                DeadChangeId(partition, stream_id.text_of(entry_id)),
                DeadLetterKind.CHANGE,
                tenant,
                StreamId.parse(entry_id).ms,
                fields[b"reason"].decode(errors="replace"),
                focus,
                is_kept=focus in kept,
            )
            for (entry_id, fields), focus in zip(entries, foci, strict=True)
        ]

    async def _walk_events(
        self, tenant: Tenant, only: SubscriptionId | None, start: DeadEventId | None, count: int
    ) -> AsyncIterator[DeadLetter]:
        async for subscription in self._subscriptions(tenant, only, start):
            after = start.number if start and start.subscription == subscription else 0
            while page := await self._page_of_events((tenant, subscription), after + 1, None, count=count):
                for dead_letter in page:
                    yield dead_letter
                after = page[-1].number

    async def _subscriptions(
        self, tenant: Tenant, only: SubscriptionId | None, start: DeadEventId | None
    ) -> AsyncIterator[SubscriptionId]:
        """The subscriptions that may have dead letters, from that of `start` on: by shard, then by id."""
        layout = self._store.layout
        if only is not None:
            yield only
            return
        first = layout.shard_of(tenant, start.subscription) if start else 0
        for shard in range(first, layout.shards):
            (ids,) = await self._store.send([("HKEYS", keys.dead_event_index(shard, tenant))])
            bound = start.subscription.encode() if start and shard == first else b""
            for subscription in sorted(each for each in ids if each >= bound):
                yield SubscriptionId(subscription.decode())

    async def _page_of_events(
        self,
        subscription: SubscriptionKey,
        low: int,
        high: int | None,
        *,
        count: int = _PAGE,
        in_full: bool = False,
    ) -> list[DeadLetter]:
        tenant, subscription_id = subscription
        shard = self._store.layout.shard_of(*subscription)
        upper = "+inf" if high is None else high
        commands: list[Command] = [
            ("ZRANGEBYSCORE", keys.dead_events(shard, *subscription), low, upper, "LIMIT", 0, count),
            ("HGET", keys.subscription(shard, *subscription), "resend_ranges"),
        ]
        members, ranges = await self._store.send(commands)
        rows = [DeadEvent.parse(member) for member in members]
        waiting = [(int(a), int(b)) for a, b in re.findall(r"(\d+)-(\d+)", (ranges or b"").decode())]
        log = keys.outbox(shard, *subscription)
        stored = await self._store.send(
            [("XRANGE", log, f"{row.number}-0", f"{row.number}-0") for row in rows]
        )
        events = [event_of(tenant, *entries[0]) if entries else None for entries in stored]
        return [
            DeadLetter(
                DeadEventId(subscription_id, row.number),
                DeadLetterKind.EVENT,
                tenant,
                row.at_ms,
                row.reason,
                event.focus if event else None,
                subscription_id,
                row.number,
                is_kept=event is not None,
                is_waiting=any(first <= row.number <= last for first, last in waiting),
                has_explanation=bool(row.packed),
                explanation=self._explanation(subscription, row) if in_full else b"",
            )
            for row, event in zip(rows, events, strict=True)
        ]

    def _explanation(self, subscription: SubscriptionKey, event: DeadEvent) -> bytes:
        try:
            return self._texts.explanation(subscription, event)
        except ValueError as error:
            _log.error("explanation of a dead letter damaged", subscription=subscription[1], error=str(error))
            return b""

    async def _page_of_inbox(
        self, tenant: Tenant, low: str, high: str = stream_id.LAST, count: int = _PAGE
    ) -> list[DeadLetter]:
        command = ("XRANGE", keys.refused_inbox(tenant), low, high, "COUNT", count)
        return [
            DeadLetter(
                DeadInboxId(stream_id.text_of(entry_id)),
                DeadLetterKind.INBOX,
                tenant,
                StreamId.parse(entry_id).ms,
                fields.get(b"reason", b"").decode(errors="replace"),
                entry={name: value for name, value in fields.items() if name not in _NOT_OF_GATEWAY},
            )
            for entry_id, fields in entries_of((await self._store.send([command]))[0])
        ]


def _of_reading(tenant: Tenant, reading: Quarantined) -> DeadLetter:
    is_binary = reading.record["format"].startswith("gatt:")
    content = reading.content.hex().encode() if is_binary else reading.content
    record = {name.encode(): value.encode() for name, value in reading.record.items()}
    return DeadLetter(
        DeadReadingId(reading.entry),
        DeadLetterKind.READING,
        tenant,
        StreamId.parse(reading.entry).ms,
        f"{reading.reason}: {reading.record['text']}",
        entry=record | {b"content": content},
    )
