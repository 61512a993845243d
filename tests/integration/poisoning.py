"""Creates poison messages without patching the broker: damages stored versions of resources, and repairs
them.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx

from broker.app import Role, Running
from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until, until_matched
from tests.integration.operations_client import groups, question
from tests.stores import redis_of

AT = "2025-03-01T08:00:00Z"


class PoisonMaker:
    """Puts observations, damages and repairs their stored versions, and reads the dead letters."""

    def __init__(self, client: httpx.AsyncClient, store: Store) -> None:
        self.client = client
        self._store = store
        self._intact: dict[str, bytes] = {}

    async def put(self, *names: str, value: float = 70) -> None:
        for name in names:
            reading = observation(HEART_RATE, "ana", AT, value) | {"id": name}
            response = await self.client.put(f"/r4/Observation/{name}", json=reading)
            assert response.is_success, response.text

    def key(self, name: str) -> str:
        """The key of the current version in the store."""
        partition = self._store.layout.partition_of(DEFAULT_TENANT, name)
        return keys.resource(partition, DEFAULT_TENANT, "Observation", name)

    async def damage(self, *names: str) -> None:
        """Overwrites the text of each with bytes that cannot be read."""
        for name in names:
            intact = await redis_of(self._store).get(self.key(name))
            assert isinstance(intact, bytes)
            self._intact[name] = intact
            head = intact.partition(b"\n")[0]
            await redis_of(self._store).set(self.key(name), head + b"\ngarbage")

    async def repair(self, *names: str) -> None:
        for name in names:
            await redis_of(self._store).set(self.key(name), self._intact.pop(name))

    async def operate(self, operation: str, **arguments: Any) -> httpx.Response:
        """Calls an operation at the base /r5."""
        return await self.client.post(f"/r5/${operation}", json=question(**arguments))

    async def dead_letters(self, **arguments: Any) -> list[Any]:
        response = await self.operate("dead-letters", **arguments)
        assert response.status_code == 200, response.text
        return groups(response.json(), "dead-letter")

    async def until_dead_letters(self, count: int) -> list[Any]:
        async def are_there() -> bool:
            return len(await self.dead_letters(count=1_000)) == count

        await until(are_there)
        return await self.dead_letters(count=1_000)

    async def until_matched(self) -> None:
        """Until no change waits to be matched."""
        await until_matched(self._store)


@asynccontextmanager
async def poison_maker_of(broker: Running, store: Store) -> AsyncIterator[PoisonMaker]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False
    ) as client:
        yield PoisonMaker(client, store)


class SplitBroker:
    """A broker with the role `api` only; a test runs the other roles while it needs them."""

    def __init__(
        self, poison: PoisonMaker, broker_fixture: BrokerFixture, api: Running, start: StartBroker
    ) -> None:
        self.poison = poison
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
        """Puts resources while no matcher runs, and damages the `broken` ones."""
        await self.poison.put(*names)
        await self.poison.damage(*broken)

    async def break_events(
        self, subscription_id: str, *names: str, broken: Collection[str], known: int = 0
    ) -> None:
        """Makes resources events of a subscription while no dispatcher runs, and damages the `broken` ones.

        The subscription has had `known` events before.
        """
        async with self.running(Role.MATCH):
            for n, name in enumerate(names, known + 1):
                await self.poison.put(name)
                await self.broker_fixture.until_counted(subscription_id, n)
            await self.poison.until_matched()
        await self.poison.damage(*broken)


@asynccontextmanager
async def split_broker_of(
    start: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> AsyncIterator[SplitBroker]:
    async with start(frozenset({Role.API})) as api, poison_maker_of(api, store) as poison:
        yield SplitBroker(poison, BrokerFixture(poison.client, subscriber), api, start)
