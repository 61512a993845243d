"""Processes that die without a word: what was acknowledged arrives, in order, numbered without a gap.

Duplicates may come only for what was under way when the process died.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import running
from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from broker.workers.dispatcher import LEASE_MS
from tests.faults.processes import GATEWAY_ATTEMPTS, BrokerProcess, StoreProcess, started
from tests.integration.broker_fixture import BrokerFixture, Gate

_NOW = "2025-03-01T08:00:00Z"


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    await store.start()
    yield store
    store.kill()


def trio(
    store: StoreProcess, folder: Path, **settings: Any
) -> tuple[BrokerProcess, BrokerProcess, BrokerProcess]:
    api = BrokerProcess("api", folder, redis_url=store.url, **settings)
    rest = [
        BrokerProcess(command, folder, redis_url=store.url, base_url=api.base, **settings)
        for command in ("match", "dispatch")
    ]
    return api, rest[0], rest[1]


def client_of(broker: BrokerProcess) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(base_url=broker.base, headers=headers, timeout=30, trust_env=False)


def ids_of(endpoint: Endpoint) -> list[str]:
    """The ids of the delivered resources, each event once, in the order of the numbers."""
    foci: dict[int, str] = {}
    for received in endpoint.received:
        if received.notification is not None and 200 <= received.answered < 300:
            for event in received.notification.events:
                foci.setdefault(event.number, event.focus.rpartition("/")[2])
    return [foci[number] for number in sorted(foci)]


async def put_all(base: str, names: Sequence[str]) -> int:
    """Puts a reading under each name, one after the other, until it is accepted. The number of accepted
    changes.
    """
    async with SimulatedGateway(f"{base}/r4", attempts=GATEWAY_ATTEMPTS) as gateway:
        for name in names:
            reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": name}
            assert await gateway.send(reading, label=name), gateway.refused
        return gateway.accepted


async def test_a_dispatcher_killed_during_delivery_repeats_only_the_notification_under_way(
    valkey: StoreProcess, tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    api, match, dispatch = trio(valkey, tmp_path)
    other = BrokerProcess("dispatch", tmp_path, "other", redis_url=valkey.url, base_url=api.base)
    async with started(api, match, dispatch), client_of(api) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        one = await broker_fixture.subscribe("a", max_count=2)
        await broker_fixture.send(3)
        await broker_fixture.until_numbers("a", 3)
        endpoint = subscriber.endpoint("a")
        gate = endpoint.answer = Gate()
        await broker_fixture.send(5)
        await gate.until_entered()
        await broker_fixture.until_counted(one, 8)
        async with started(other):  # two dispatchers, the one with the claim dies
            dispatch.kill()
            gate.opened.set()
            await broker_fixture.until_numbers("a", 8)
            assert endpoint.duplicates <= 2, "no more than the notification that was under way"
            other.kill()
            await broker_fixture.send(2)
            await dispatch.start()
            await broker_fixture.until_numbers("a", 10)


async def test_a_dispatcher_that_stood_still_longer_than_its_claims_last_repeats_nothing(
    valkey: StoreProcess, tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    api, match, dispatch = trio(valkey, tmp_path, shards="1", retry_max="50ms")
    async with started(api, match, dispatch), client_of(api) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await broker_fixture.subscribe("a")
        await broker_fixture.subscribe("busy")  # so that it claims as soon as it continues
        busy = subscriber.endpoint("busy").answer = Gate(503)
        busy.opened.set()
        endpoint = subscriber.endpoint("a")
        gate = endpoint.answer = Gate()
        await broker_fixture.send(1)
        await gate.until_entered()
        dispatch.suspend()
        await asyncio.sleep(LEASE_MS / 1000 + 1)
        gate.opened.set()
        await broker_fixture.send(1)
        dispatch.resume()
        await broker_fixture.until_numbers("a", 2)
        assert endpoint.duplicates == 0


async def test_a_matcher_killed_under_load_loses_and_repeats_nothing(
    valkey: StoreProcess, tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    api, match, dispatch = trio(valkey, tmp_path)
    async with started(api, match, dispatch), client_of(api) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await broker_fixture.subscribe("a", max_count=5)
        names = [f"r{n:03d}" for n in range(120)]
        sending = asyncio.create_task(put_all(api.base, names))
        for known in (20, 60):
            assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").numbers) >= known)  # noqa: B023 used at once
            match.kill()
            await match.start()
        assert await sending == len(names)
        endpoint = await broker_fixture.until_numbers("a", len(names))
        assert sorted(ids_of(endpoint)) == names
        assert endpoint.duplicates == 0


async def test_serve_killed_with_its_embedded_store_delivers_every_acknowledged_change(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    serve = BrokerProcess("serve", tmp_path, data_dir=str(tmp_path / "data"))
    async with started(serve):
        async with client_of(serve) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            await broker_fixture.subscribe("a", max_count=5)
        names = [f"r{n:03d}" for n in range(80)]
        sending = asyncio.create_task(put_all(serve.base, names))
        assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").numbers) >= 20)
        serve.kill()
        await serve.start()
        assert await sending == len(names)
        assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").numbers) >= len(names))
        endpoint = subscriber.endpoint("a")
        assert endpoint.numbers == list(range(1, len(names) + 1))
        assert sorted(ids_of(endpoint)) == names


async def test_while_the_store_is_down_producers_get_503_and_no_acknowledged_change_is_lost(
    valkey: StoreProcess, tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    api, match, dispatch = trio(valkey, tmp_path)
    async with started(api, match, dispatch), client_of(api) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await broker_fixture.subscribe("a", max_count=5)
        names = [f"r{n:03d}" for n in range(60)]
        sending = asyncio.create_task(put_all(api.base, names))
        assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").numbers) >= 15)
        valkey.kill()
        reading = observation(HEART_RATE, "ana", _NOW, 72) | {"resourceType": "Observation"}
        refused = await client.post("/r4/Observation", json=reading)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.json()["resourceType"] == "OperationOutcome"
        await valkey.start()
        assert await sending == len(names)
        endpoint = subscriber.endpoint("a")
        assert await subscriber.wait_until(lambda: len(endpoint.numbers) >= len(names))
        assert endpoint.numbers == list(range(1, len(endpoint.numbers) + 1))
        assert sorted(ids_of(endpoint)) == names


async def test_an_embedded_store_that_dies_is_restarted(
    settings: Settings, tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    data_dir = tmp_path / "data"
    async with running(replace(settings, redis_url=None, data_dir=data_dir)) as broker:
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(
            base_url=broker.settings.base_url, headers=headers, timeout=30, trust_env=False
        ) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            await broker_fixture.subscribe("a")
            await broker_fixture.send()
            await broker_fixture.until_numbers("a", 1)
            killed = await _kill_store(client, broker.store_url)
            assert await put_all(broker.settings.base_url, ["after"]) == 1
            assert await _store_pid(broker.store_url) != killed
            endpoint = await broker_fixture.until_numbers("a", 2)
            assert ids_of(endpoint)[-1] == "after"
    await _ends(data_dir)


async def _store_pid(url: str) -> int:
    reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix://"))
    try:
        writer.write(b"INFO server\r\n")
        async with asyncio.timeout(60):
            while not (line := await reader.readline()).startswith(b"process_id:"):
                pass
        return int(line.partition(b":")[2])
    finally:
        writer.close()
        await writer.wait_closed()


async def _kill_store(client: httpx.AsyncClient, url: str) -> int:
    pid = await _store_pid(url)
    os.kill(pid, signal.SIGKILL)
    return pid


async def _ends(data_dir: Path) -> None:
    """After the broker nothing runs in the directory: another server starts there at once."""
    another = EmbeddedServer(data_dir)
    await asyncio.to_thread(another.start)
    assert another.process is not None
    another.stop()
