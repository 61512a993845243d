"""Reads resource versions and finds resources; plans ids, so that a repeated create makes one resource.

Every write goes through `Changes.append`.
"""

import hashlib
import os
import random
from collections.abc import Collection, Iterable, Sequence

from broker.model.change import Tenant, Version, VersionKey
from broker.model.resource import UnversionedResource
from broker.model.uuids import uuid8
from broker.store import keys
from broker.store.protocol import Command, Store
from broker.store.records import INTERACTIONS, RELEASES

_random = random.Random(os.urandom(16))


def assign_id(placement: int, seed: str = "") -> str:
    """A new opaque id (UUID version 8) with its placement in it, so that its partition is known from the id
    alone.

    The same placement and seed give the same id: with a seed that names a request, a repetition of the
    request finds the resource that the request made.
    """
    rest = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:14]) if seed else _random.getrandbits(112)
    return uuid8(placement << 112 | rest)


def unpack(key: VersionKey, stored: bytes) -> Version:
    """The version that a version key's string holds; `keys.version` describes the string."""
    line, _, text = stored.partition(b"\n")
    release, interaction, at_text, head_length = line.split(b" ")
    at_ms, length = int(at_text), int(head_length)
    resource = None
    if text:
        resource = UnversionedResource(text[:length], text[length:]).with_version(key.version, at_ms)
    return Version(key, RELEASES[release], INTERACTIONS[interaction], at_ms, resource)


class Resources:
    """Reads versions by key, current versions by id, and ids by identifier or reference."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        """The versions that are still stored; one round trip. Raises `ValueError` for a damaged one."""
        by_partition: dict[int, list[VersionKey]] = {}
        for key in wanted:
            by_partition.setdefault(self.partition_of(key.tenant, key.id), []).append(key)
        commands: list[Command] = [
            ("MGET", *(keys.version(partition, key) for key in in_partition))
            for partition, in_partition in by_partition.items()
        ]
        replies: Sequence[Sequence[bytes | None]] = await self._store.send(commands)
        return {
            key: unpack(key, stored)
            for in_partition, reply in zip(by_partition.values(), replies, strict=True)
            for key, stored in zip(in_partition, reply, strict=True)
            if stored is not None
        }

    async def current_many(
        self, tenant: Tenant, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Version]:
        """The current versions (deletions too) by type and id, as far as there are any; two round trips.

        A version that is superseded between the two is still stored, because versions are kept for a while.
        """
        if not wanted:
            return {}
        targets = list(wanted)
        commands: list[Command] = [
            ("HGET", keys.current(self.partition_of(tenant, target[1]), tenant, *target), "version")
            for target in targets
        ]
        numbers: Sequence[bytes | None] = await self._store.send(commands)
        versions = await self.many(
            VersionKey(tenant, resource_type, resource_id, int(number))
            for (resource_type, resource_id), number in zip(targets, numbers, strict=True)
            if number is not None
        )
        return {(key.type, key.id): version for key, version in versions.items()}

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
