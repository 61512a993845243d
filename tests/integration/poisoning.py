"""Poison without patching the broker: a stored version is damaged, and mended."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from broker.app import Role, Running
from broker.model.change import DEFAULT_TENANT, VersionKey
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.operations_client import groups, question
from tests.stores import redis_of

AT = "2025-03-01T08:00:00Z"


class Bench:
    """Puts observations and damages what is stored of them."""

    def __init__(self, client: httpx.AsyncClient, store: Store) -> None:
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
            whole = await redis_of(self._store).get(self.key(one))
            assert isinstance(whole, bytes)
            self._whole[one] = whole
            await redis_of(self._store).set(self.key(one), b"garbage")

    async def mend(self, *names: str) -> None:
        for one in names:
            await redis_of(self._store).set(self.key(one), self._whole.pop(one))

    async def ask(self, operation: str, **given: Any) -> httpx.Response:
        return await self.client.post(f"/r5/${operation}", json=question(**given))

    async def letters(self, **given: Any) -> list[Any]:
        response = await self.ask("dead-letters", **given)
        assert response.status_code == 200, response.text
        return groups(response.json(), "dead-letter")

    async def until_letters(self, count: int) -> list[Any]:
        async def holds() -> bool:
            return len(await self.letters(count=1_000)) == count

        await until(holds, 20)
        return await self.letters(count=1_000)

    async def until_matched(self) -> None:
        change_log = ChangeLog(self._store)

        async def holds() -> bool:
            return not sum((await change_log.backlog()).values())

        await until(holds)


@asynccontextmanager
async def bench_of(broker: Running, store: Store) -> AsyncIterator[Bench]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=10, trust_env=False
    ) as client:
        yield Bench(client, store)


class Hub:
    """A broker's API alone, and the other roles for as long as a test wants them."""

    def __init__(self, bench: Bench, broker_fixture: BrokerFixture, api: Running, start: StartBroker) -> None:
        self.bench = bench
        self.broker_fixture = broker_fixture
        self.api = api
        self._start = start

    def running(self, *roles: Role) -> AbstractAsyncContextManager[Running]:
        return self._start(frozenset(roles), base_url=self.api.settings.base_url)

    async def subscribe(self, *names: str, **options: Any) -> list[str]:
        async with self.running(Role.MATCH, Role.DISPATCH):
            options = {"release": "r4", "content": "full-resource"} | options
            return [await self.broker_fixture.subscribe(name, **options) for name in names]

    async def break_changes(self, *names: str, broken: Collection[str]) -> None:
        """Puts them while nobody matches, and damages some."""
        await self.bench.put(*names)
        await self.bench.damage(*broken)

    async def break_events(self, one: str, *names: str, broken: Collection[str], known: int = 0) -> None:
        """Makes them events of a subscription while nobody delivers, and damages some."""
        async with self.running(Role.MATCH):
            for n, name in enumerate(names, known + 1):
                await self.bench.put(name)
                await self.broker_fixture.until_counted(one, n)
            await self.bench.until_matched()
        await self.bench.damage(*broken)


@asynccontextmanager
async def hub_of(start: StartBroker, store: Store, subscriber: SimulatedSubscriber) -> AsyncIterator[Hub]:
    async with start(frozenset({Role.API})) as api, bench_of(api, store) as bench:
        yield Hub(bench, BrokerFixture(bench.client, subscriber), api, start)
