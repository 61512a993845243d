"""Looks back at the intake log: what is not matched yet, and a tenant's newest changes.

The API calls it: readiness, `$explain` and the dry run of a subscription. Nothing here changes the log.
"""

import heapq
from collections.abc import AsyncIterator

from broker.model.change import Change, Tenant, Version
from broker.store import keys, stream_id
from broker.store.bodies import UNSEALED, Bodies
from broker.store.changes import MAX_CHANGES, Entry, changes_of
from broker.store.matched_positions import MatchedPositions, unmatched
from broker.store.protocol import Command, Store
from broker.store.records import logged_change
from broker.store.replies import entries_of, mapping_of
from broker.store.resources import Resources
from broker.store.stream_id import StreamId

_PAGE = 256
_NEAR_MS = 1_000
"""How far the id of a log entry may be from the moment of its version."""


class ChangeLog:
    """Reads; `max_changes` is the limit that `Changes` enforces."""

    def __init__(self, store: Store, *, max_changes: int = MAX_CHANGES, bodies: Bodies = UNSEALED) -> None:
        self._store = store
        self._resources = Resources(store, bodies)
        self._max_changes = max_changes

    async def backlog(self) -> dict[int, int]:
        """How many changes of each partition are not matched."""
        partitions = range(self._store.layout.partitions)
        commands: list[Command] = []
        for partition in partitions:
            commands += [
                ("HGETALL", keys.partition_counters(partition)),
                ("HGET", keys.matching(partition), "matched"),
            ]
        replies = iter(await self._store.send(commands))
        return {
            partition: unmatched(mapping_of(counters), matched)
            for partition, counters, matched in zip(partitions, replies, replies, strict=True)
        }

    async def fullest(self) -> int | None:
        """A partition that refuses changes because too many are not matched; None if all have room."""
        partition, unmatched = max((await self.backlog()).items(), key=lambda row: row[1])
        return partition if unmatched >= self._max_changes else None

    async def newest(self, tenant: Tenant, count: int) -> AsyncIterator[Change]:
        """A tenant's last `count` changes that are still in the log, newest first, with the versions that are
        still stored.

        The log is one for all tenants, so this reads over the entries of others. A redriven change is not
        returned again.
        """
        readers = {p: self._backwards(p) for p in range(self._store.layout.partitions)}
        heads: list[tuple[int, int, int, Entry]] = []

        async def advance(partition: int) -> None:
            async for entry in readers[partition]:
                ms, sequence = StreamId.parse(entry[1])
                heapq.heappush(heads, (-ms, -sequence, partition, entry))
                return

        for partition in readers:
            await advance(partition)
        page: list[Entry] = []
        while heads and count:
            _, _, partition, entry = heapq.heappop(heads)
            if logged_change(entry[2]).key.tenant == tenant and b"redriven" not in entry[2]:
                page.append(entry)
                count -= 1
            if len(page) == _PAGE:
                for change in await changes_of(self._resources, page):
                    yield change
                page = []
            await advance(partition)
        for change in await changes_of(self._resources, page):
            yield change

    async def _backwards(self, partition: int) -> AsyncIterator[Entry]:
        """A partition's entries, newest first."""
        bound = stream_id.LAST
        while True:
            command = ("XREVRANGE", keys.changes(partition), bound, stream_id.FIRST, "COUNT", _PAGE)
            page = entries_of((await self._store.send([command]))[0])
            for entry_id, fields in page:
                yield partition, entry_id.decode(), fields
            if len(page) < _PAGE:
                return
            bound = stream_id.after(page[-1][0])

    async def is_unmatched(self, version: Version) -> bool:
        """Whether the change that made this version is not matched yet; a change that left the log is."""
        partition = self._store.layout.partition_of(version.key.tenant, version.key.id)
        stream = keys.changes(partition)
        command = ("XRANGE", stream, version.at_ms - _NEAR_MS, version.at_ms + _NEAR_MS)
        for entry_id, fields in entries_of((await self._store.send([command]))[0]):
            entry = logged_change(fields)
            if entry.events or entry.key != version.key:
                continue  # another change, or a business event about the version
            position = (await MatchedPositions(self._store).load([partition]))[partition]
            return StreamId.parse(entry_id) > StreamId.parse(position)
        return False
