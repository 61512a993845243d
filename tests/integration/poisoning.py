"""Poison without patching the broker: a stored version is damaged, and mended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from broker.app import Running
from broker.model.change import DEFAULT_TENANT, VersionKey
from broker.store import keys
from broker.store.server import Server
from broker.testing.readings import HEART_RATE, observation

AT = "2025-03-01T08:00:00Z"


class Bench:
    """Puts observations and damages what is stored of them."""

    def __init__(self, client: httpx.AsyncClient, store: Server) -> None:
        self.client = client
        self._store = store
        self._whole: dict[str, bytes] = {}

    async def put(self, *names: str, value: float = 70) -> None:
        for one in names:
            reading = observation(HEART_RATE, "ana", AT, value) | {"id": one}
            response = await self.client.put(f"/r4/Observation/{one}", json=reading)
            assert response.is_success, response.text

    def key(self, one: str, version: int = 1) -> str:
        partition = self._store.layout.partition_of(DEFAULT_TENANT, one)
        return keys.version(partition, VersionKey(DEFAULT_TENANT, "Observation", one, version))

    async def damage(self, *names: str) -> None:
        for one in names:
            whole = await self._store.client.get(self.key(one))
            assert isinstance(whole, bytes)
            self._whole[one] = whole
            await self._store.client.set(self.key(one), b"garbage")

    async def mend(self, *names: str) -> None:
        for one in names:
            await self._store.client.set(self.key(one), self._whole.pop(one))


@asynccontextmanager
async def bench_of(broker: Running, store: Server) -> AsyncIterator[Bench]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=10, trust_env=False
    ) as client:
        yield Bench(client, store)
