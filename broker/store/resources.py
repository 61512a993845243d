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
from broker.store.server import Server, translating

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

    def __init__(self, server: Server) -> None:
        self._server = server

    def partition_of(self, tenant: Tenant, resource_id: str) -> int:
        return self._server.layout.partition_of(tenant, resource_id)

    @translating
    async def current(self, tenant: Tenant, resource_type: str, resource_id: str) -> Version | None:
        """The current version (a deletion too); None if there never was one."""
        partition = self.partition_of(tenant, resource_id)
        number = await self._server.client.hget(
            keys.current(partition, tenant, resource_type, resource_id), "v"
        )
        if number is None:
            return None
        # should a writer move on in between, the version it superseded is still kept
        return await self.version(VersionKey(tenant, resource_type, resource_id, int(number)))

    @translating
    async def version(self, key: VersionKey) -> Version | None:
        stored = await self._server.client.get(keys.version(self.partition_of(key.tenant, key.id), key))
        return None if stored is None else unpack(key, cast("bytes", stored))

    async def many(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, Version]:
        """Those of the versions that are still kept; one round trip."""
        by_partition: dict[int, list[VersionKey]] = {}
        for key in wanted:
            by_partition.setdefault(self.partition_of(key.tenant, key.id), []).append(key)
        answers: Sequence[Sequence[bytes | None]] = await self._server.ask(
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
        numbers: Sequence[bytes | None] = await self._server.ask(
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

    @translating
    async def referring(
        self, tenant: Tenant, reference: str, by: Sequence[tuple[str, str]], *, limit: int
    ) -> list[tuple[str, str]]:
        """Type and id of those that refer to `Type/id` by any of the (type, parameter) pairs kept at intake; newest first."""
        pipe = self._server.client.pipeline(transaction=False)
        for partition in range(self._server.layout.partitions):
            for kind, parameter in by:
                pipe.zrevrange(
                    f"{keys.references(partition, tenant)}{reference}:{kind}:{parameter}",
                    0,
                    limit - 1,
                    withscores=True,
                )
        answers: Sequence[Sequence[tuple[bytes, float]]] = await pipe.execute()
        found: dict[tuple[str, str], float] = {}
        for (kind, _), rows in zip(list(by) * self._server.layout.partitions, answers, strict=True):
            for one, at_ms in rows:
                found[kind, one.decode()] = at_ms
        return sorted(found, key=lambda target: (-found[target], target))[:limit]

    @translating
    async def find(self, tenant: Tenant, resource_type: str, identifier: str) -> list[str]:
        """Ids of the current resources of a type that carry the identifier `system|value`."""
        pipe = self._server.client.pipeline(transaction=False)
        for partition in range(self._server.layout.partitions):
            pipe.hget(keys.identifiers(partition, tenant, resource_type), identifier)
        return [
            one for held in await pipe.execute() if held for one in cast("bytes", held).decode().split(" ")
        ]
