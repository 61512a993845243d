"""What could not be done and waits for an operator: changes that broke the matcher, events that can't be rendered, inbox entries
that were refused. Listed by tenant, in an order that stays. `dead_letter_actions.py` retries and drops them.

An inbox entry that names no valid tenant is nobody's.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import msgspec

from broker.model.change import DEFAULT_TENANT, Tenant, VersionKey
from broker.model.subscription import SubscriptionId
from broker.store import keys
from broker.store.outbox import event_of
from broker.store.protocol import Command, Store
from broker.store.replies import entries_of
from broker.store.stream_id import StreamId

_PAGE = 200
_ID = re.compile(
    r"change-(\d{1,4})-(\d{1,15}-\d{1,15})|event-([A-Za-z0-9.-]{1,64})-(\d{1,15})|inbox-(\d{1,15}-\d{1,15})"
)
_NOT_GIVEN = {b"outcome", b"entry"}


class Kind(StrEnum):
    """What a letter holds."""

    CHANGE = "change"
    EVENT = "event"
    INBOX = "inbox"


@dataclass(frozen=True, slots=True)
class Where:
    """Which letters; everything of a tenant by default."""

    kind: Kind | None = None
    subscription: SubscriptionId | None = None

    def has(self, kind: Kind) -> bool:
        return self.kind in {None, kind} and (self.subscription is None or kind is Kind.EVENT)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter. `at_ms` is when it was set aside; `focus` the version it is about where that is known.

    `is_kept`: what a retry needs is still stored; `is_waiting`: a retry was asked for and is on its way. `entry` is the inbox
    entry as the gateway wrote it.
    """

    id: str
    kind: Kind
    tenant: Tenant
    at_ms: int
    reason: str
    focus: VersionKey | None = None
    subscription: SubscriptionId | None = None
    number: int = 0
    is_kept: bool = True
    is_waiting: bool = False
    entry: Mapping[bytes, bytes] | None = None


class DeadLetters:
    """Lists and counts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def walk(self, tenant: Tenant, where: Where, after: str = "") -> AsyncIterator[DeadLetter]:
        """The letters behind the one of id `after`, read as they are asked for: changes, then events, then inbox entries."""
        partition, entry, subscription, number, refused = parts_of(after)
        if where.has(Kind.CHANGE) and not subscription and not refused:
            for p in range(int(partition or 0), self._store.layout.partitions):
                async for letter in self._changes(tenant, p, entry if str(p) == partition else ""):
                    yield letter
        if where.has(Kind.EVENT) and not refused:
            for key in await self._subscriptions(tenant, where.subscription):
                if not subscription or self._rank(*key) >= self._rank(tenant, subscription):
                    start = int(number) if key[1] == subscription else 0
                    async for letter in self._events(*key, start):
                        yield letter
        if where.has(Kind.INBOX):
            async for letter in self._refused(tenant, refused):
                yield letter

    async def get(self, tenant: Tenant, letter_id: str) -> DeadLetter | None:
        """A letter of the tenant."""
        partition, entry, subscription, number, refused = parts_of(letter_id)
        found: Sequence[DeadLetter] = ()
        if partition and int(partition) < self._store.layout.partitions:
            found = (await self._page_of_changes(tenant, int(partition), entry, entry))[0]
        elif subscription:
            key = (tenant, SubscriptionId(subscription))
            found = await self._page_of_events(*key, int(number), int(number))
        elif refused:
            found = (await self._page_of_refused(tenant, refused, refused))[0]
        return next(iter(found), None)

    def _rank(self, tenant: Tenant, subscription: str) -> tuple[int, str]:
        return self._store.layout.shard_of(tenant, subscription), subscription

    async def _changes(self, tenant: Tenant, partition: int, after: str) -> AsyncIterator[DeadLetter]:
        while True:
            letters, last = await self._page_of_changes(tenant, partition, f"({after}" if after else "-", "+")
            for letter in letters:
                yield letter
            if not last:
                return
            after = last

    async def _page_of_changes(
        self, tenant: Tenant, partition: int, low: str, high: str
    ) -> tuple[list[DeadLetter], str]:
        """Those of the tenant, and the id of the last entry looked at."""
        (reply,) = await self._store.send([("XRANGE", keys.aside(partition), low, high, "COUNT", _PAGE)])
        page = entries_of(reply)
        mine = [(entry_id.decode(), fields) for entry_id, fields in page if fields[b"t"] == tenant.encode()]
        foci = [_focus(tenant, fields) for _, fields in mine]
        are_kept = await self._store.send([("EXISTS", keys.version(partition, focus)) for focus in foci])
        letters = [
            DeadLetter(
                f"{Kind.CHANGE}-{partition}-{entry_id}",
                Kind.CHANGE,
                tenant,
                StreamId.parse(entry_id).ms,
                fields[b"w"].decode(errors="replace"),
                focus,
                is_kept=bool(kept),
            )
            for (entry_id, fields), focus, kept in zip(mine, foci, are_kept, strict=True)
        ]
        return letters, page[-1][0].decode() if page else ""

    async def _subscriptions(
        self, tenant: Tenant, only: SubscriptionId | None
    ) -> list[tuple[Tenant, SubscriptionId]]:
        """Those of the tenant that have letters, in the order of `_rank`."""
        if only is not None:
            return [(tenant, only)]
        indexes = await self._store.send(
            [("HKEYS", keys.dead_index(shard)) for shard in range(self._store.layout.shards)]
        )
        prefix = f"{tenant}:".encode()
        return [
            (tenant, SubscriptionId(member.removeprefix(prefix).decode()))
            for members in indexes
            for member in sorted(members)
            if member.startswith(prefix)
        ]

    async def _events(
        self, tenant: Tenant, subscription: SubscriptionId, after: int
    ) -> AsyncIterator[DeadLetter]:
        while letters := await self._page_of_events(tenant, subscription, after + 1, None):
            for letter in letters:
                yield letter
            after = letters[-1].number

    async def _page_of_events(
        self, tenant: Tenant, subscription: SubscriptionId, low: int, high: int | None
    ) -> list[DeadLetter]:
        shard = self._store.layout.shard_of(tenant, subscription)
        key, bound = keys.dead(shard, tenant, subscription), "+inf" if high is None else high
        members, again = await self._store.send(
            [
                ("ZRANGEBYSCORE", key, low, bound, "LIMIT", 0, _PAGE),
                ("HGET", keys.subscription(shard, tenant, subscription), "again"),
            ]
        )
        rows = [cast("bytes", member).decode(errors="replace").split(" ", 2) for member in members]
        waiting = [(int(a), int(b)) for a, b in re.findall(r"(\d+)-(\d+)", (again or b"").decode())]
        outbox = keys.outbox(shard, tenant, subscription)
        stored = await self._store.send(
            [("XRANGE", outbox, f"{number}-0", f"{number}-0") for number, _, _ in rows]
        )
        events = [event_of(tenant, *entries_of(reply)[0]) if reply else None for reply in stored]
        return [
            DeadLetter(
                f"{Kind.EVENT}-{subscription}-{number}",
                Kind.EVENT,
                tenant,
                int(at_ms),
                reason,
                event.focus if event else None,
                subscription,
                int(number),
                is_kept=event is not None,
                is_waiting=any(first <= int(number) <= last for first, last in waiting),
            )
            for (number, at_ms, reason), event in zip(rows, events, strict=True)
        ]

    async def _refused(self, tenant: Tenant, after: str) -> AsyncIterator[DeadLetter]:
        while True:
            letters, last = await self._page_of_refused(tenant, f"({after}" if after else "-", "+")
            for letter in letters:
                yield letter
            if not last:
                return
            after = last

    async def _page_of_refused(self, tenant: Tenant, low: str, high: str) -> tuple[list[DeadLetter], str]:
        (reply,) = await self._store.send([("XRANGE", keys.INBOX_REFUSED, low, high, "COUNT", _PAGE)])
        page = entries_of(reply)
        letters = [
            DeadLetter(
                f"{Kind.INBOX}-{entry_id.decode()}",
                Kind.INBOX,
                tenant,
                StreamId.parse(entry_id).ms,
                _refusal(fields.get(b"outcome", b"")),
                entry={name: value for name, value in fields.items() if name not in _NOT_GIVEN},
            )
            for entry_id, fields in page
            if fields.get(b"tenant", DEFAULT_TENANT.encode()) == tenant.encode()
        ]
        return letters, page[-1][0].decode() if page else ""

    async def counts(self) -> dict[str, int]:
        """How many letters of each kind there are, of all tenants, for gauges."""
        layout = self._store.layout
        commands: list[Command] = [("XLEN", keys.aside(partition)) for partition in range(layout.partitions)]
        commands += [("HVALS", keys.dead_index(shard)) for shard in range(layout.shards)]
        *answers, refused = await self._store.send([*commands, ("XLEN", keys.INBOX_REFUSED)])
        events = sum(int(count) for counts in answers[layout.partitions :] for count in counts)
        return {Kind.CHANGE: sum(answers[: layout.partitions]), Kind.EVENT: events, Kind.INBOX: refused}


def is_letter_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def parts_of(letter_id: str) -> tuple[str, str, str, str, str]:
    """What an id is made of: partition and entry, subscription and number, or refused entry; what it isn't is ''."""
    found = _ID.fullmatch(letter_id)
    return cast("tuple[str, str, str, str, str]", found.groups("")) if found else ("",) * 5


def _focus(tenant: Tenant, fields: Mapping[bytes, bytes]) -> VersionKey:
    return VersionKey(tenant, fields[b"y"].decode(), fields[b"i"].decode(), int(fields[b"v"]))


def _refusal(outcome: bytes) -> str:
    """What the OperationOutcome says."""
    issues = msgspec.json.decode(outcome or b"{}").get("issue", [])
    return "; ".join(issue["diagnostics"] for issue in issues)
