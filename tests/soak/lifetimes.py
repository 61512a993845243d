"""Which entries of the store stay beyond their documented lifetime (docs/operating.md).

An entry is a key, or a member of a key that many things share. Two scans that are further apart than a
lifetime are compared. Ids of subscriptions, readings and requests are used once: what is there for a
subscription that is gone, for a reading or a superseded version, must have left until the second scan.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.asyncio as redis

from broker.settings.retention import EVENT_LIKE_TYPES
from broker.store.memory_sample import kind_of

_RESOURCE = re.compile(r"(?P<type>[A-Z][A-Za-z]*)/(?P<id>[A-Za-z0-9.-]+)(?P<version>/\d+)?")
_TYPE = re.compile(r"([A-Z][A-Za-z]*)/")


class Entry(NamedTuple):
    """A key, or a member of one: its kind, its name, and the subscription that it belongs to."""

    kind: str
    name: str
    subscription: str = ""
    is_passing: bool = False
    """Belongs to a request, to a resource of a type that expires, or to a superseded version."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The entries of one moment, and the subscriptions that were registered then."""

    entries: frozenset[Entry]
    registered: frozenset[str]

    def ending(self) -> set[Entry]:
        """The entries that had no more than their lifetime left."""
        return {
            entry
            for entry in self.entries
            if entry.is_passing or (entry.subscription and entry.subscription not in self.registered)
        }

    def overdue(self, later: "Scan") -> list[str]:
        """Those of them that are in a later scan."""
        return sorted(f"{entry.kind} {entry.name}" for entry in self.ending() & later.entries)


class Lifetimes:
    """Scans a store from time to time. `lifetime_s` is the longest that is documented, with the time that
    sweeps take.
    """

    def __init__(self, store: redis.Redis, lifetime_s: float) -> None:
        self._store = store
        self._lifetime_s = lifetime_s
        self._last, self._last_at = Scan(frozenset(), frozenset()), 0.0
        self.compared = Counter[str]()
        """By kind, the entries that had to leave between two scans."""
        self.overdue: list[str] = []

    async def run(self) -> None:
        """Compares one scan after the other until it is cancelled."""
        await self.begin()
        while True:
            await self.compare()

    async def begin(self) -> None:
        """Makes the first scan of the next comparison."""
        self._last, self._last_at = await _scan(self._store), time.monotonic()

    async def compare(self) -> None:
        """Compares the last scan with a new one, when the lifetime has passed."""
        await asyncio.sleep(self._last_at + self._lifetime_s - time.monotonic())
        earlier = self._last
        await self.begin()
        self.compared.update(entry.kind for entry in earlier.ending())
        self.overdue += earlier.overdue(self._last)


async def _scan(store: redis.Redis) -> Scan:
    """What is registered, or deleted, while the entries are read counts as registered."""
    entries, registered = set[Entry](), await _registered(store)
    async for key in store.scan_iter(count=1_000):
        entries.update(await _entries_of(store, key.decode()))
    return Scan(frozenset(entries), frozenset(registered | await _registered(store)))


async def _registered(store: redis.Redis) -> set[str]:
    registered = set[str]()
    async for key in store.scan_iter(match="*}:members:*", count=1_000):
        registered.update(await _replies(store, "ZRANGE", key, 0, -1))
    return registered


async def _entries_of(store: redis.Redis, key: str) -> list[Entry]:
    kind = kind_of(key)
    match kind:
        case "deleted-subscription" | "outbox" | "subscription":
            return [Entry(kind, key, subscription=_last(key))]
        case "dead-letters" if key.startswith("{s"):
            return [Entry(kind, key, subscription=_last(key))]
        case "due" | "members":
            members = await _replies(store, "ZRANGE", key, 0, -1)
            return [Entry(kind, f"{key} {member}", subscription=_last(member)) for member in members]
        case "dead-letter-index":
            members = await _replies(store, "HKEYS", key)
            return [Entry(kind, f"{key} {member}", subscription=member) for member in members]
        case "resource":
            return [Entry(kind, key, is_passing=_expires(key))]
        case "held-versions" | "references":
            members = await _replies(store, "ZRANGE", key, 0, -1)
            return [
                Entry(kind, f"{key} {member}", is_passing=_is_event_like(member, key)) for member in members
            ]
        case "idempotency":
            return [Entry(kind, key, is_passing=True)]
        case "changes" | "dead-letters" | "refused":
            entries: Any = await store.xrange(key)
            return [Entry(kind, f"{key} {entry_id.decode()}", is_passing=True) for entry_id, _ in entries]
        case _:
            return []


async def _replies(store: redis.Redis, *command: Any) -> list[str]:
    replies: Any = await store.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    return [reply.decode() for reply in replies]


def _last(name: str) -> str:
    return name.rpartition(":")[2]


def _expires(key: str) -> bool:
    """Whether it is a version of a type that expires, or a superseded version."""
    resource = _RESOURCE.search(key)
    return resource is not None and (resource["type"] in EVENT_LIKE_TYPES or bool(resource["version"]))


def _is_event_like(member: str, key: str) -> bool:
    """Whether a version that is held, or the resources that a key of references lists, are of such a type."""
    names = {*_TYPE.findall(member), key.split(":")[-2]}
    return not names.isdisjoint(EVENT_LIKE_TYPES)
