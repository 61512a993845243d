"""Reads the sorted sets of stored resources that searches use (`docs/decisions/290`, `291`).

`append_changes.lua` and the scripts that remove versions keep them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.errors import BrokerError
from broker.model.change import Tenant, Version, VersionKey
from broker.store import search_keys
from broker.store.protocol import Command, Store
from broker.store.resources import Resources
from broker.store.scripts import search
from broker.store.scripts.search import Members, PieceOfSet
from broker.store.set_ranges import DividedRange, divide

MAX_CHANGED = 5_000
"""Versions that were written after a snapshot and superseded others: beyond it nobody reads on in it."""
VERSIONS = "v"
"""The set of the versions of resources that have several: `<id> <number>` by moment."""


class SnapshotTooOld(BrokerError):  # noqa: N818 a property of the request, for the caller to report
    """More was changed after the snapshot than a page reads."""


class SetRange(NamedTuple):
    """The members of a set with scores from the lowest to the highest, both included."""

    name: str
    low: int
    high: int


async def stored_types(store: Store, tenant: Tenant) -> set[str]:
    """The types of which a tenant has resources in sets."""
    names = [search_keys.search_types(partition, tenant) for partition in range(store.layout.partitions)]
    replies = await store.send([("SMEMBERS", name) for name in names])
    return {name.decode() for found in replies for name in found}


class SearchSets:
    """The sets of one type of a tenant."""

    def __init__(self, store: Store, resources: Resources, tenant: Tenant, resource_type: str) -> None:
        self._store = store
        self._resources = resources
        self._tenant = tenant
        self._type = resource_type

    @property
    def partitions(self) -> int:
        return self._store.layout.partitions

    async def snapshot(self) -> int:
        """A moment: all that was written at it or before is visible and durable, and nothing is added."""
        return await search.advance_read_moment(self._store)

    async def sizes(self, ranges: Sequence[SetRange]) -> list[Sequence[int]]:
        """How many members each range has in each partition; one round trip."""
        partitions = range(self.partitions)
        commands: list[Command] = [
            ("ZCOUNT", self._key(partition, each.name), each.low, each.high)
            for each in ranges
            for partition in partitions
        ]
        counts = await self._store.send(commands)
        return [counts[n : n + len(partitions)] for n in range(0, len(counts), len(partitions))]

    async def scores(self, ids: Sequence[str], names: Sequence[str]) -> dict[str, int]:
        """The scores of resources in the first of the sets that has them; without those that none has."""
        by_partition: dict[int, list[str]] = {}
        for each in ids:
            partition = self._store.layout.partition_of(self._tenant, each)
            by_partition.setdefault(partition, []).append(each)
        commands: list[Command] = [
            ("ZMSCORE", self._key(partition, name), *members)
            for partition, members in by_partition.items()
            for name in reversed(names)
        ]
        replies = iter(await self._store.send(commands) if commands else ())
        found: dict[str, int] = {}
        for members in by_partition.values():
            for _ in names:
                scores = zip(members, next(replies), strict=True)
                found |= {member: int(score) for member, score in scores if score is not None}
        return found

    async def pieces(self, wanted: Sequence[PieceOfSet], size: int) -> list[Members]:
        """Up to `size` ids of each; one round trip."""
        return await search.read_pieces(self._store, self._tenant, self._type, wanted, size)

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        """The current versions, deletions too."""
        found = await self._resources.current_many(self._tenant, [(self._type, each) for each in ids])
        return {resource_id: version for (_, resource_id), version in found.items()}

    async def current_as_stored(self, ids: Sequence[str]) -> dict[str, Version]:
        """The current versions, deletions too. A damaged one has no resource, and is no deletion."""
        wanted = [(self._type, each) for each in ids]
        found = await self._resources.current_as_stored(self._tenant, wanted)
        return {resource_id: version for (_, resource_id), version in found.items()}

    async def versions(self, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Version]:
        """The versions by id and number that are still stored, deletions too. A damaged one has no resource,
        and is no deletion.
        """
        versions = await self._resources.many_as_stored(
            [VersionKey(self._tenant, self._type, resource_id, number) for resource_id, number in wanted]
        )
        return {(key.id, key.version): version for key, version in versions.items()}

    async def moments(self, partition: int, wanted: Sequence[tuple[str, int]]) -> list[int | None]:
        """When versions of resources that have several were written, by id and number; None for one that is
        not known.
        """
        members = [f"{resource_id} {number}" for resource_id, number in wanted]
        if not members:
            return []
        (scores,) = await self._store.send([("ZMSCORE", self._key(partition, VERSIONS), *members)])
        return [None if score is None else int(score) for score in scores]

    async def divided(self, wanted: SetRange, size: int) -> list[DividedRange]:
        """Ranges of about `size` members, in the order of the partitions."""
        names = [self._key(partition, wanted.name) for partition in range(self.partitions)]
        return await divide(self._store, names, wanted.low, wanted.high, size)

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        """The versions at that moment of all resources that were changed after it; None for those that did
        not exist, were deleted, or whose version is no longer stored. Raises `SnapshotTooOld`.
        """
        commands: list[Command] = [
            (
                "ZRANGEBYSCORE",
                self._key(partition, VERSIONS),
                f"({moment_ms}",
                "+inf",
                "LIMIT",
                0,
                MAX_CHANGED + 1,
            )
            for partition in range(self.partitions)
        ]
        replies: Sequence[Sequence[bytes]] = await self._store.send(commands)
        if sum(map(len, replies)) > MAX_CHANGED:
            raise SnapshotTooOld
        first: dict[str, int] = {}
        for member in (each for reply in replies for each in reply):
            resource_id, _, number = member.decode().rpartition(" ")
            first[resource_id] = min(int(number), first.get(resource_id, int(number)))
        before = {
            resource_id: VersionKey(self._tenant, self._type, resource_id, number - 1)
            for resource_id, number in first.items()
        }
        versions = await self._resources.many([key for key in before.values() if key.version])
        found = ((resource_id, versions.get(key)) for resource_id, key in before.items())
        return {
            resource_id: version if version is not None and version.resource is not None else None
            for resource_id, version in found
        }

    def _key(self, partition: int, name: str) -> str:
        return search_keys.search_sets(partition, self._tenant, self._type) + name
