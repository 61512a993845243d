"""A broker that writes to EHRs and is killed at each place of an attempt, while the EHRs are slow, refuse for
a while, and lose requests and answers: what is there at the end is what the broker has, once and in order.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from broker.testing.ehr import SimulatedEhr
from broker.testing.ehr_faults import LoseAnswer, LoseRequest, Refuse, Slow
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.faults.processes import BrokerProcess, StoreProcess, kill_all
from tests.integration.broker_fixture import WAIT_S, BrokerFixture
from tests.integration.fhir_write_fixture import write_subscription

FAILPOINTS = ("delivery.claimed", "delivery.sent", "delivery.before-commit", "delivery.after-commit")
PATIENTS = ("ana", "ben")
EACH = 6
"""Readings of each patient for each failpoint."""
SYSTEM = "urn:broker"
TARGET = """
[[target]]
name = "{name}"
base = "{base}"
types = ["Observation"]
lookups = ["Patient"]
identifier_system = "urn:broker"
max_entries = {max_entries}
"""


def patient(resource_id: str, name: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": resource_id,
        "identifier": [{"system": "urn:mrn", "value": name}],
    }


class Traffic:
    """Sends readings, each until it is answered, and keeps what the broker answered, in order."""

    def __init__(self, broker: BrokerProcess, client: httpx.AsyncClient) -> None:
        self._broker = broker
        self._client = client
        self._values = iter(range(50, 10_000))
        self.sent: dict[str, list[str]] = {name: [] for name in PATIENTS}

    async def send(self) -> None:
        for name in PATIENTS:
            value = next(self._values)
            reading = observation(HEART_RATE, name, "2025-03-01T08:00:00Z", value)
            del reading["device"]
            self.sent[name].append(await self._until_answered(reading))

    async def _until_answered(self, reading: Mapping[str, Any]) -> str:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        async with asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    response = await self._client.post("/r4/Observation", json=reading, headers=headers)
                    if response.is_success:
                        return str(response.json()["id"])
                if not self._broker.is_running:
                    await self._broker.start()
                await asyncio.sleep(0.02)


def plan_faults(ehr: SimulatedEhr, path: str) -> None:
    for fault in (LoseAnswer(), Refuse(503), LoseRequest(), Slow(0.3), Refuse(429, 1), LoseAnswer()):
        ehr.faults.add(fault, path=path)


def written(ehr: SimulatedEhr) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The id at the broker, the patient at the EHR and the document of each write, in order."""
    for version in ehr.store.writes:
        if version.type == "Observation" and version.resource is not None:
            [own] = [each for each in version.resource["identifier"] if each["system"] == SYSTEM]
            resource_id = own["value"].removeprefix("Observation/")
            yield resource_id, version.resource["subject"]["reference"], version.resource


async def check(ehr: SimulatedEhr, client: httpx.AsyncClient, sent: Mapping[str, list[str]]) -> None:
    writes = list(written(ehr))
    for name in PATIENTS:
        of_patient = [resource_id for resource_id, subject, _ in writes if subject == f"Patient/of-{name}"]
        assert list(dict.fromkeys(of_patient)) == sent[name], "in order, and nothing is missing"
    resources = ehr.store.resources("Observation")
    assert len(resources) == sum(map(len, sent.values())), "each once"
    newest = {resource_id: resource for resource_id, _, resource in writes}
    for name in PATIENTS:
        for resource_id in sent[name]:
            own = (await client.get(f"/r4/Observation/{resource_id}")).json()
            there = newest[resource_id]
            assert there["valueQuantity"] == own["valueQuantity"]
            assert there["code"] == own["code"]
            assert there["subject"]["reference"] == f"Patient/of-{name}"


async def test_kills_and_faults_leave_each_resource_once_and_in_order_at_each_ehr(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    store = StoreProcess(tmp_path)
    await store.start()
    async with AsyncExitStack() as stack:
        ehrs = {name: await stack.enter_async_context(SimulatedEhr()) for name in ("bundles", "singles")}
        entries = {"bundles": 5, "singles": 1}
        targets = tmp_path / "targets.toml"
        targets.write_text(
            "".join(
                TARGET.format(name=name, base=ehr.base, max_entries=entries[name])
                for name, ehr in ehrs.items()
            )
        )
        broker = BrokerProcess("serve", tmp_path, redis_url=store.url, write_targets=str(targets))
        stack.callback(kill_all, [broker, store])
        await broker.start()
        headers = {"Content-Type": "application/fhir+json"}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=broker.base, headers=headers, timeout=20, trust_env=False)
        )
        for name in PATIENTS:
            assert (await client.put(f"/r4/Patient/{name}", json=patient(name, name))).status_code == 201
            for ehr in ehrs.values():
                response = await client.put(f"{ehr.base}/Patient/of-{name}", json=patient(f"of-{name}", name))
                assert response.status_code == 201
        fixture = BrokerFixture(client, subscriber)
        for name in ehrs:
            document = write_subscription(endpoint=f"fhir-write:{name}", max_count=5)
            registered = await register_subscription(client, "/r4", document)
            await fixture.until_status(registered["id"], "active")
        traffic = Traffic(broker, client)
        for failpoint in FAILPOINTS:
            plan_faults(ehrs["bundles"], "")
            plan_faults(ehrs["singles"], "Observation")
            broker.kill()
            await broker.start(failpoint=f"{failpoint}:kill@3")
            killed = broker.pid
            for _ in range(EACH):
                await traffic.send()
            async with asyncio.timeout(WAIT_S):
                while broker.pid == killed:
                    if not broker.is_running:
                        await broker.start()
                    await asyncio.sleep(0.02)
        for ehr in ehrs.values():
            assert await ehr.wait_until(len(PATIENTS) * EACH * len(FAILPOINTS), "Observation", WAIT_S)
            assert ehr.faults.is_empty, "each fault happened"
            await check(ehr, client, traffic.sent)
