"""Resource versions: read any, find by identifier; and ids, planned so that a repeated create makes one resource."""

import hashlib
import os
import random
from collections.abc import Collection, Iterable, Sequence
from typing import cast

from broker.model.change import Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import UnversionedResource
from broker.model.uuids import uuid8
from broker.store import keys
from broker.store.protocol import Command, Store

_random = random.Random(os.urandom(16))
RELEASES = {one.encode(): one for one in Release}
INTERACTIONS = {one.encode(): one for one in Interaction}
"""Both by the bytes the store answers: what each event asks of, and an enumeration is slow to ask."""


def assign_id(placement: int, seed: str = "") -> str:
    """A new opaque id (UUID version 8) that carries its placement, so that its partition is known from it alone.

    The same placement and seed give the same id: what names a request makes its repetition find the resource it made.
    """
    rest = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:14]) if seed else _random.getrandbits(112)
    return uuid8(placement << 112 | rest)


def unpack(key: VersionKey, stored: bytes) -> Version:
    """The version that a version key's string holds; `keys.version` describes the string."""
    line, _, text = stored.partition(b"\n")
    release, interaction, at_text, head_length = line.split(b" ")
    at_ms, length = int(at_text), int(head_length)
    body = (
        UnversionedResource(text[:length], text[length:]).with_version(key.version, at_ms).text
        if text
        else None
    )
    return Version(key, RELEASES[release], INTERACTIONS[interaction], at_ms, body)


class Resources:
    """Reads; every write goes through `Changes.append`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def partition_of(self, tenant: Tenant, resource_id: str) -> int:
        return self._store.layout.partition_of(tenant, resource_id)

    async def current(self, tenant: Tenant, resource_type: str, resource_id: str) -> Version | None:
        """The current version (a deletion too); None if there never was one."""
        partition = self.partition_of(tenant, resource_id)
        current = keys.current(partition, tenant, resource_type, resource_id)
        (number,) = await self._store.send([("HGET", current, "v")])
        if number is None:
            return None
        # should a writer move on in between, the version it superseded is still kept
        return await self.version(VersionKey(tenant, resource_type, resource_id, int(number)))

    async def version(self, key: VersionKey) -> Version | None:
        (stored,) = await self._store.send(
            [("GET", keys.version(self.partition_of(key.tenant, key.id), key))]
        )
        return None if stored is None else unpack(key, stored)

    async def many(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, Version]:
        """Those of the versions that are still kept; one round trip."""
        by_partition: dict[int, list[VersionKey]] = {}
        for key in wanted:
            by_partition.setdefault(self.partition_of(key.tenant, key.id), []).append(key)
        answers: Sequence[Sequence[bytes | None]] = await self._store.send(
            [
                ("MGET", *(keys.version(partition, key) for key in some))
                for partition, some in by_partition.items()
            ]
        )
        return {
            key: unpack(key, stored)
            for some, answer in zip(by_partition.values(), answers, strict=True)
            for key, stored in zip(some, answer, strict=True)
            if stored is not None
        }

    async def current_many(
        self, tenant: Tenant, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Version]:
        """The current versions (deletions too) by type and id, those that there are; two round trips."""
        if not wanted:
            return {}
        targets = list(wanted)
        numbers: Sequence[bytes | None] = await self._store.send(
            [
                (
                    "HGET",
                    keys.current(self.partition_of(tenant, resource_id), tenant, kind, resource_id),
                    "v",
                )
                for kind, resource_id in targets
            ]
        )
        found = await self.many(
            VersionKey(tenant, kind, resource_id, int(number))
            for (kind, resource_id), number in zip(targets, numbers, strict=True)
            if number is not None
        )
        return {(key.type, key.id): version for key, version in found.items()}

    async def referring(
        self, tenant: Tenant, reference: str, by: Sequence[tuple[str, str]], *, limit: int
    ) -> list[tuple[str, str]]:
        """Type and id of those that refer to `Type/id` by any of the (type, parameter) pairs kept at intake; newest first."""
        commands: list[Command] = [
            (
                "ZREVRANGE",
                f"{keys.references(partition, tenant)}{reference}:{kind}:{parameter}",
                0,
                limit - 1,
                "WITHSCORES",
            )
            for partition in range(self._store.layout.partitions)
            for kind, parameter in by
        ]
        answers: Sequence[Sequence[bytes]] = await self._store.send(commands)
        found: dict[tuple[str, str], float] = {}
        for (kind, _), rows in zip(list(by) * self._store.layout.partitions, answers, strict=True):
            for one, at_ms in zip(rows[::2], rows[1::2], strict=True):
                found[kind, one.decode()] = float(at_ms)
        return sorted(found, key=lambda target: (-found[target], target))[:limit]

    async def find(self, tenant: Tenant, resource_type: str, identifier: str) -> list[str]:
        """Ids of the current resources of a type that carry the identifier `system|value`."""
        replies = await self._store.send(
            [
                ("HGET", keys.identifiers(partition, tenant, resource_type), identifier)
                for partition in range(self._store.layout.partitions)
            ]
        )
        return [one for held in replies if held for one in cast("bytes", held).decode().split(" ")]
