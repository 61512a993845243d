"""Reads resource versions and finds resources; plans ids, so that a repeated create makes one resource.

Every write goes through `Changes.append`.
"""

import hashlib
import os
import random
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from broker.model.change import Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import UnversionedResource
from broker.model.uuids import uuid8
from broker.store import keys
from broker.store.bodies import UNSEALED, Bodies
from broker.store.protocol import Command, Store
from broker.store.records import INTERACTIONS, RELEASES

_random = random.Random(os.urandom(16))
os.register_at_fork(after_in_child=_random.seed)  # else it would draw the ids of its parent


def assign_id(placement: int, seed: str = "") -> str:
    """A new opaque id (UUID version 8) with its placement in it, so that its partition is known from the id
    alone.

    The same placement and seed give the same id: with a seed that names a request, a repetition of the
    request finds the resource that the request made.
    """
    rest = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:14]) if seed else _random.getrandbits(112)
    return uuid8(placement << 112 | rest)


class StoredVersion(NamedTuple):
    """What a resource's string says of its version; `lua/shared/resource.lua` describes the string.

    `text` is packed (`bodies.py`), and empty for a deletion.
    """

    number: int
    release: Release
    interaction: Interaction
    at_ms: int
    text: bytes


def read_stored(stored: bytes) -> StoredVersion:
    """Raises `ValueError` for a damaged one."""
    head, _, rest = stored.partition(b"\n")
    try:
        version, release, interaction, at_ms, _, *lengths = head.split(b" ")
        text = rest[sum(map(int, lengths)) :]
        return StoredVersion(int(version), RELEASES[release], INTERACTIONS[interaction], int(at_ms), text)
    except KeyError as error:
        raise ValueError(f"{error} in the head of a stored resource") from error


def unpack(key: VersionKey, stored: StoredVersion, bodies: Bodies) -> Version:
    """The version of that key. Raises `ValueError` for a damaged text, or for none where it is no deletion:
    nobody may take it for one.
    """
    resource = None
    if stored.text:
        text = bodies.unpack(stored.text, key.tenant, key.reference)
        unversioned = UnversionedResource(key.type, key.id, text)
        resource = unversioned.with_version(key.version, stored.at_ms)
    elif stored.interaction is not Interaction.DELETE:
        raise ValueError("the text of a stored resource is missing")
    return Version(key, stored.release, stored.interaction, stored.at_ms, resource)


class Resources:
    """Reads versions by key, current versions by id, and ids by identifier or reference."""

    def __init__(self, store: Store, bodies: Bodies = UNSEALED) -> None:
        self._store = store
        self._bodies = bodies

    def partition_of(self, tenant: Tenant, resource_id: str) -> int:
        return self._store.layout.partition_of(tenant, resource_id)

    async def current(self, tenant: Tenant, resource_type: str, resource_id: str) -> Version | None:
        """The current version (a deletion too); None if there never was one."""
        target = (resource_type, resource_id)
        return (await self.current_many(tenant, [target])).get(target)

    async def version(self, key: VersionKey) -> Version | None:
        """None for a version that is not stored (any more)."""
        return (await self.many([key])).get(key)

    async def many(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, Version]:
        """The versions that are still stored; one round trip, or two if some were superseded.

        Raises `ValueError` for a damaged one.
        """
        stored = await self.stored(wanted)
        return {key: unpack(key, version, self._bodies) for key, version in stored.items()}

    async def many_as_stored(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, Version]:
        """As `many`, but a version whose text is damaged has no resource; its interaction is no deletion."""
        stored = await self.stored(wanted)
        return {key: self._as_stored(key, version) for key, version in stored.items()}

    def _as_stored(self, key: VersionKey, stored: StoredVersion) -> Version:
        try:
            return unpack(key, stored, self._bodies)
        except ValueError:
            return Version(key, stored.release, stored.interaction, stored.at_ms, None)

    async def stored(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, StoredVersion]:
        """As `many`, without reading the texts."""
        keys_wanted = list(wanted)
        current = await self._read([self._current_key(key.tenant, key.type, key.id) for key in keys_wanted])
        found = {}
        superseded = []
        for key, stored in zip(keys_wanted, current, strict=True):
            if stored is not None and stored.number == key.version:
                found[key] = stored
            else:  # a resource that is not stored any more may have a version that something needs
                superseded.append(key)
        older = await self._read([self._superseded_key(key) for key in superseded])
        return found | {
            key: stored for key, stored in zip(superseded, older, strict=True) if stored is not None
        }

    async def current_many(
        self, tenant: Tenant, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Version]:
        """The current versions (deletions too) by type and id, as far as there are any; one round trip.

        Raises `ValueError` for a damaged one.
        """
        stored = await self._current_stored(tenant, wanted)
        return {target: unpack(key, version, self._bodies) for target, (key, version) in stored.items()}

    async def current_as_stored(
        self, tenant: Tenant, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Version]:
        """As `current_many`, with damaged ones as `many_as_stored` has them."""
        stored = await self._current_stored(tenant, wanted)
        return {target: self._as_stored(key, version) for target, (key, version) in stored.items()}

    async def _current_stored(
        self, tenant: Tenant, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[VersionKey, StoredVersion]]:
        targets = list(wanted)
        stored = await self._read([self._current_key(tenant, *target) for target in targets])
        return {
            target: (VersionKey(tenant, *target, version.number), version)
            for target, version in zip(targets, stored, strict=True)
            if version is not None
        }

    def _current_key(self, tenant: Tenant, resource_type: str, resource_id: str) -> tuple[int, str]:
        partition = self.partition_of(tenant, resource_id)
        return partition, keys.resource(partition, tenant, resource_type, resource_id)

    def _superseded_key(self, key: VersionKey) -> tuple[int, str]:
        partition = self.partition_of(key.tenant, key.id)
        return partition, keys.superseded(partition, key)

    async def _read(self, wanted: Sequence[tuple[int, str]]) -> list[StoredVersion | None]:
        """The strings of keys, each given with its partition; one command for each partition."""
        by_partition: dict[int, list[int]] = {}
        for index, (partition, _) in enumerate(wanted):
            by_partition.setdefault(partition, []).append(index)
        if not by_partition:
            return []
        commands: list[Command] = [
            ("MGET", *(wanted[index][1] for index in indexes)) for indexes in by_partition.values()
        ]
        replies: Sequence[Sequence[bytes | None]] = await self._store.send(commands)
        versions: list[StoredVersion | None] = [None] * len(wanted)
        for indexes, reply in zip(by_partition.values(), replies, strict=True):
            for index, stored in zip(indexes, reply, strict=True):
                if stored is not None:
                    versions[index] = read_stored(stored)
        return versions

    async def referring(
        self, tenant: Tenant, reference: str, by: Sequence[tuple[str, str]], *, limit: int
    ) -> list[tuple[str, str]]:
        """Resources that refer to `Type/id` by any of the (type, parameter) pairs, newest first."""
        partitions = range(self._store.layout.partitions)
        commands: list[Command] = [
            (
                "ZREVRANGE",
                f"{keys.references(partition, tenant)}{reference}:{resource_type}:{parameter}",
                0,
                limit - 1,
                "WITHSCORES",
            )
            for partition in partitions
            for resource_type, parameter in by
        ]
        replies: Sequence[Sequence[bytes]] = await self._store.send(commands)
        since_ms: dict[tuple[str, str], float] = {}
        for (resource_type, _), row in zip(list(by) * len(partitions), replies, strict=True):
            for resource_id, score in zip(row[::2], row[1::2], strict=True):
                since_ms[resource_type, resource_id.decode()] = float(score)
        return sorted(since_ms, key=lambda target: (-since_ms[target], target))[:limit]

    async def find(
        self, tenant: Tenant, resource_type: str, prefixes: Sequence[str], *, limit: int
    ) -> set[str]:
        """Ids of the current resources of a type with an identifier whose index entry begins with one of the
        prefixes (`fhir/identifiers.py`); up to `limit` for each prefix and partition.
        """
        commands: list[Command] = [
            (
                "ZRANGEBYLEX",
                keys.identifiers(partition, tenant, resource_type),
                b"[" + prefix.encode(),
                b"(" + prefix.encode() + b"\xff",
                "LIMIT",
                0,
                limit,
            )
            for partition in range(self._store.layout.partitions)
            for prefix in prefixes
        ]
        replies: Sequence[Sequence[bytes]] = await self._store.send(commands)
        return {entry.rpartition(b"\x1f")[2].decode() for entries in replies for entry in entries}
