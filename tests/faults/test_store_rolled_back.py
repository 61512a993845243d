"""The store comes back with older data: no number stands for two events, and every subscription reports the
gap.
"""

import asyncio
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.faults.processes import GATEWAY_ATTEMPTS, BrokerProcess, StoreProcess, started
from tests.integration.broker_fixture import BrokerFixture, until
from tests.metrics import read_total

_NOW = "2025-03-01T08:00:00Z"
_FILES = "appendonlydir"


def client_of(broker: BrokerProcess) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(base_url=broker.base, headers=headers, timeout=30, trust_env=False)


async def put_all(base: str, names: Sequence[str]) -> None:
    """Puts each by its name until it is accepted."""
    async with SimulatedGateway(f"{base}/r4", attempts=GATEWAY_ATTEMPTS) as gateway:
        for name in names:
            reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": name}
            assert await gateway.send(reading, label=name), gateway.refused


def sent_by_number(endpoint: Endpoint) -> dict[int, set[tuple[str, bytes]]]:
    """For each number, the sent pairs of focus and resource."""
    sent: dict[int, set[tuple[str, bytes]]] = defaultdict(set)
    for received in endpoint.received:
        if received.notification is None:
            continue
        bundle = json.loads(received.body)
        by_url: dict[str, Any] = {entry["fullUrl"]: entry.get("resource") for entry in bundle["entry"][1:]}
        for event in received.notification.events:
            body = next((body for url, body in by_url.items() if url.endswith(event.focus)), None)
            sent[event.number].add((event.focus, json.dumps(body).encode()))
    return sent


def ids(endpoint: Endpoint) -> set[str]:
    return {focus.rpartition("/")[2] for pairs in sent_by_number(endpoint).values() for focus, _ in pairs}


def errors(bundle: dict[str, Any]) -> str:
    return " | ".join(error["text"] for error in bundle["entry"][0]["resource"].get("error", []))


async def rollbacks(broker: BrokerProcess) -> float:
    async with client_of(broker) as client:
        return await read_total(client, "broker_store_rollbacks_total")


async def test_after_a_rollback_no_number_is_reused_and_every_subscription_reports_the_gap(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    valkey = StoreProcess(folder)
    await valkey.start()
    api = BrokerProcess("api", tmp_path, redis_url=valkey.url)
    matchers = [
        BrokerProcess("match", tmp_path, name, redis_url=valkey.url, base_url=api.base)
        for name in ("m1", "m2")
    ]
    dispatch = BrokerProcess("dispatch", tmp_path, redis_url=valkey.url, base_url=api.base)
    try:
        async with started(api, *matchers, dispatch), client_of(api) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            a = await broker_fixture.subscribe("a", max_count=3, content="full-resource")
            quiet = await broker_fixture.subscribe("quiet", filters=["patient=Patient/nobody"])
            await put_all(api.base, [f"before{n}" for n in range(10)])
            await broker_fixture.until_numbers("a", 10)
            shutil.copytree(folder / _FILES, tmp_path / "copy")
            # update the same resources, so that lost versions get other bodies, and create more that are lost
            await put_all(api.base, [f"before{n}" for n in range(10)] + [f"lost{n}" for n in range(10)])
            await broker_fixture.until_numbers("a", 30)
            valkey.kill()
            shutil.rmtree(folder / _FILES)
            shutil.copytree(tmp_path / "copy", folder / _FILES)
            await valkey.start()
            names = [f"after{n}" for n in range(10)]
            await put_all(api.base, names)
            endpoint = subscriber.endpoint("a")
            assert await subscriber.wait_until(lambda: set(names) <= ids(endpoint)), ids(endpoint)
            sent = sent_by_number(endpoint)
            assert [number for number, things in sent.items() if len(things) > 1] == []
            fresh = sorted(number for number in sent if number > 30)
            assert fresh == list(range(fresh[0], fresh[0] + 10)), "one gap, and in order behind it"
            for each in (a, quiet):
                status = (await client.get(f"/r5/Subscription/{each}/$status")).json()
                assert "the store came back with older data" in errors(status), each
                assert status["entry"][0]["resource"]["status"] == "active"
            listed = (await client.get(f"/r5/Subscription/{a}/$events?eventsSinceNumber=11")).json()
            assert "events 11 to" in errors(listed)
            assert "or are lost" in errors(listed)
            assert sum([await rollbacks(matcher) for matcher in matchers]) >= 1
            logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("m1", "m2"))
            assert "the store came back with older data" in logs
            await broker_fixture.request_again(a)
            await broker_fixture.until_status(a, "active")
            assert errors((await client.get(f"/r5/Subscription/{a}/$status")).json()) == ""
    finally:
        valkey.kill()


async def test_a_rollback_while_everything_was_stopped_is_detected_by_the_high_water_file(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    data = tmp_path / "data"
    serve = BrokerProcess("serve", tmp_path, data_dir=str(data))
    async with started(serve):
        async with client_of(serve) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            subscription_id = await broker_fixture.subscribe("a", max_count=3)
            await put_all(serve.base, [f"before{n}" for n in range(5)])
            await broker_fixture.until_numbers("a", 5)
            shutil.copytree(data / _FILES, tmp_path / "copy")
            await put_all(serve.base, [f"lost{n}" for n in range(5)])
            await broker_fixture.until_numbers("a", 10)
        await until(_holds(lambda: _high_water(data / "high-water.json") == 10))
        assert await serve.stop()
        shutil.rmtree(data / _FILES)
        shutil.copytree(tmp_path / "copy", data / _FILES)
        await serve.start()
        await put_all(serve.base, ["after"])
        endpoint = subscriber.endpoint("a")
        assert await subscriber.wait_until(lambda: "after" in ids(endpoint))
        assert [number for number, things in sent_by_number(endpoint).items() if len(things) > 1] == []
        async with client_of(serve) as client:
            status = (await client.get(f"/r5/Subscription/{subscription_id}/$status")).json()
            assert "the store came back with older data" in errors(status)


def _high_water(file: Path) -> int:
    """The number of events in the high-water file."""
    return sum(number for _, _, number in json.loads(file.read_text())["numbered"]) if file.exists() else 0


def _holds(condition: Callable[[], bool]) -> Callable[[], Any]:
    async def holds() -> bool:
        return await asyncio.to_thread(condition)

    return holds
