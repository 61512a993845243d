"""A broker killed between decoding a reading and its commit, or between the commit and the answer: a producer
that sends everything again loses nothing and repeats nothing.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.faults.processes import BrokerProcess, StoreProcess, kill_all
from tests.integration.broker_fixture import WAIT_S, BrokerFixture
from tests.integration.merging_strap import MERGING, pulse
from tests.integration.merging_strap import payload as strap
from tests.integration.reading_fixture import JSON, dead_letters

_SYSTEM = "http://example.org/devices"
BATCHES = 6
"""Of three readings each, one of which has an unknown unit."""


def payload(n: int, unit: str = "C") -> dict[str, Any]:
    return {
        "kind": "thermometer",
        "device": {"system": _SYSTEM, "value": "t-1"},
        "patient": {"system": _SYSTEM, "value": "ana"},
        "readings": [{"time": f"2024-03-02T07:15:{n:02}+01:00", "temperature": 37.1, "unit": unit}],
    }


async def post_until_answered(broker: BrokerProcess, client: httpx.AsyncClient, batch: int) -> None:
    """Sends the batch until it is answered; starts the broker again when it has died."""
    readings = [payload(2 * batch), payload(2 * batch + 1), payload(30 + batch, unit="mood")]
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await client.post("/readings", json=readings, headers=JSON)
                if response.status_code == 200:
                    assert [row["status"] for row in response.json()["results"]][2] == "quarantined"
                    return
            if not broker.is_running:
                await broker.start()


@pytest.mark.parametrize(
    "failpoint",
    [
        "readings.before-commit:kill@3",
        "intake.after-append:kill@5",
        "readings.after-commit:kill@3",
        "readings.before-commit:kill@2",
    ],
)
async def test_a_kill_loses_and_repeats_no_reading(
    tmp_path: Path, subscriber: SimulatedSubscriber, failpoint: str
) -> None:
    store = StoreProcess(tmp_path)
    await store.start()
    broker = BrokerProcess("serve", tmp_path, redis_url=store.url)
    try:
        await broker.start(failpoint=failpoint)
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(
            base_url=broker.base, headers=headers, timeout=20, trust_env=False
        ) as client:
            patient = {
                "resourceType": "Patient",
                "id": "ana",
                "identifier": [{"system": _SYSTEM, "value": "ana"}],
            }
            assert (await client.put("/r4/Patient/ana", json=patient)).status_code == 201
            fixture = BrokerFixture(client, subscriber)
            await fixture.subscribe("a")
            first = broker.pid
            for batch in range(BATCHES):
                await post_until_answered(broker, client, batch)
            assert broker.pid != first, "the failpoint was passed"
            await fixture.until_numbers("a", 2 * BATCHES)
            letters = await dead_letters(client, kind="reading")
            assert len(letters) == BATCHES, letters
            metrics = (await client.get("/metrics")).text
            assert f'broker_dead_letters{{kind="reading"}} {BATCHES}.0' in metrics
    finally:
        kill_all([broker, store])


async def post_pulse(brokers: list[BrokerProcess], minute: int) -> dict[str, Any]:
    """Sends one sample to one of the brokers, and to the next one when that does not answer."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for broker in brokers[minute % 2 :] + brokers[: minute % 2]:
                with contextlib.suppress(httpx.TransportError):
                    async with httpx.AsyncClient(base_url=broker.base, timeout=20, trust_env=False) as client:
                        response = await client.post("/readings", json=strap(pulse(minute, 60 + minute)))
                    if response.status_code in {200, 201}:
                        answer: dict[str, Any] = response.json()
                        return answer


async def test_two_processes_merge_into_one_observation_and_one_of_them_is_killed(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "strap.yaml").write_text(MERGING)
    store = StoreProcess(tmp_path)
    await store.start()
    folder = str(tmp_path / "mappings")
    first = BrokerProcess("serve", tmp_path, redis_url=store.url, mappings_dir=folder)
    other = BrokerProcess("api", tmp_path, redis_url=store.url, mappings_dir=folder, base_url=first.base)
    brokers = [first, other]
    try:
        await first.start(failpoint="readings.after-commit:kill@3")
        await other.start()
        answers = await asyncio.gather(*(post_pulse(brokers, minute) for minute in range(30)))
        assert await first.until_ended(WAIT_S), "the failpoint was passed"
        (reference,) = {row["reference"] for answer in answers for row in answer["observations"]}
        async with httpx.AsyncClient(base_url=other.base, timeout=20, trust_env=False) as client:
            observation = (await client.get(f"/r4/{reference}")).json()
        data = observation["valueSampledData"]["data"].split(" ")
        assert data == [str(60 + minute) for minute in range(30)] + ["E"] * 30
    finally:
        kill_all([*brokers, store])
