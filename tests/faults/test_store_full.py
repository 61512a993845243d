"""A store that is out of memory: producers get 503, accepted changes are still delivered, and intake
resumes by itself.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis.asyncio as redis

from broker.app import Role, running
from broker.settings import Settings
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.faults.processes import StoreProcess
from tests.integration.broker_fixture import BrokerFixture, Gate, until
from tests.metrics import read_total


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    await store.start()
    yield store
    store.kill()


async def limit_memory(store: StoreProcess, size: str) -> None:
    client = redis.Redis.from_url(store.url)
    await client.config_set("maxmemory", size)
    await client.aclose()


async def test_a_store_out_of_memory_refuses_changes_and_delivers_the_accepted_ones(
    valkey: StoreProcess, settings: Settings, subscriber: SimulatedSubscriber
) -> None:
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72) | {"id": "one"}
    async with (
        running(replace(settings, redis_url=valkey.url)) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as client,
    ):
        client.headers["Content-Type"] = "application/fhir+json"
        broker_fixture = BrokerFixture(client, subscriber)
        subscription_id = await broker_fixture.subscribe("a", max_count=2)
        gate = subscriber.endpoint("a").answer = Gate()
        await broker_fixture.send(8)
        await broker_fixture.until_counted(subscription_id, 8)
        await limit_memory(valkey, "1kb")
        refused = await client.put("/r4/Observation/one", json=reading)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "out of memory" in refused.json()["issue"][0]["diagnostics"]
        registration = await client.post("/r5/Subscription", json=broker_fixture.document("b"))
        assert registration.status_code == 503

        async def is_known_to_be_full() -> bool:
            not_ready = await client.get("/readyz")
            assert not_ready.status_code == 503
            return "out of memory" in not_ready.json()["parts"]["store"]

        await until(is_known_to_be_full)  # a store that needs long for the question does not answer it
        assert (await client.get("/livez")).status_code == 200
        gate.opened.set()
        await broker_fixture.until_numbers("a", 8)
        await limit_memory(valkey, "0")

        async def is_accepted() -> bool:
            repeated = {"Idempotency-Key": "one"}
            return (await client.put("/r4/Observation/one", json=reading, headers=repeated)).is_success

        await until(is_accepted)
        await broker_fixture.until_numbers("a", 9)

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(is_ready)
        assert subscriber.endpoint("a").duplicates == 0


async def test_changes_accepted_before_memory_ran_out_are_matched_when_there_is_memory_again(
    valkey: StoreProcess, settings: Settings, subscriber: SimulatedSubscriber
) -> None:
    with_matcher = frozenset({Role.MATCH})
    without_matcher = frozenset({Role.API, Role.DISPATCH})
    settings = replace(settings, redis_url=valkey.url)
    async with (
        running(settings, without_matcher) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as client,
    ):
        client.headers["Content-Type"] = "application/fhir+json"
        settings = replace(settings, base_url=broker.settings.base_url)
        broker_fixture = BrokerFixture(client, subscriber)
        subscription_id = await broker_fixture.subscribe("a", max_count=2)
        await broker_fixture.send(5)
        async with running(settings, with_matcher):
            await broker_fixture.until_numbers("a", 5)
        await broker_fixture.send(5)
        await limit_memory(valkey, "1kb")
        async with running(settings, with_matcher) as matcher:
            matcher_base = f"http://127.0.0.1:{matcher.settings.port}"
            async with httpx.AsyncClient(base_url=matcher_base, trust_env=False, timeout=60) as at_matcher:

                async def has_met_the_full_store() -> bool:
                    return await read_total(at_matcher, "broker_store_errors_total") > 0

                await until(has_met_the_full_store)
            assert await broker_fixture.event_count(subscription_id) == 5
            await limit_memory(valkey, "0")
            await broker_fixture.until_numbers("a", 10)
