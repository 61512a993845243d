"""From a reading at the broker to the resource at the FHIR server of an EHR: over HTTP, with the references
of the EHR, and with a refusal in between.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.testing.ehr import SimulatedEhr
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, broker_with, until
from tests.integration.fhir_write_fixture import write_subscription

MRN = [{"system": "urn:mrn", "value": "4711"}]
TARGETS = """
[[target]]
name = "ehr"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device"]
creates = ["Device"]
identifier_system = "urn:broker"

[[target]]
name = "unable"
base = "{base}"
types = ["Observation", "Procedure"]
"""


@pytest.fixture
async def ehr() -> AsyncIterator[SimulatedEhr]:
    async with SimulatedEhr() as ehr:
        ehr.store.update("Patient", "77", {"resourceType": "Patient", "id": "77", "identifier": MRN})
        yield ehr


@pytest.fixture
async def broker_fixture(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, ehr: SimulatedEhr, tmp_path: Path
) -> AsyncIterator[BrokerFixture]:
    path = tmp_path / "targets.toml"
    path.write_text(TARGETS.format(base=ehr.base))
    async with broker_with(start_broker, subscriber, write_targets=path) as fixture:
        yield fixture


async def put(client: httpx.AsyncClient, resource: dict[str, Any]) -> None:
    url = f"/r4/{resource['resourceType']}/{resource['id']}"
    response = await client.put(url, json=resource)
    assert response.is_success, response.text


async def test_readings_arrive_at_the_ehr_in_order_and_a_refused_one_is_a_dead_letter(
    broker_fixture: BrokerFixture, ehr: SimulatedEhr
) -> None:
    client = broker_fixture.client
    device_id = observation(HEART_RATE, "ana", "2026-01-01T00:00:00Z", 60)["device"]["reference"][7:]
    await put(client, {"resourceType": "Patient", "id": "ana", "identifier": MRN})
    serial = [{"system": "urn:sn", "value": "S1"}]
    await put(client, {"resourceType": "Device", "id": device_id, "identifier": serial})
    registered = await register_subscription(client, "/r4", write_subscription(max_count=10))
    await broker_fixture.until_status(registered["id"], "active")
    for count, value in enumerate(range(60, 66), 1):
        reading = observation(HEART_RATE, "ana", "2026-01-01T00:00:00Z", value)
        if value == 63:
            reading["valueQuantity"]["code"] = "/h"  # not the unit of the profile that it claims
        assert (await client.post("/r4/Observation", json=reading)).status_code == 201
        await broker_fixture.until_counted(registered["id"], count)  # changes of two resources have no order

    assert await ehr.wait_until(5, "Observation", WAIT_S)
    written = ehr.store.resources("Observation")
    assert [each["valueQuantity"]["value"] for each in written] == [60, 61, 62, 64, 65]
    assert {each["subject"]["reference"] for each in written} == {"Patient/77"}
    [device] = ehr.store.resources("Device")
    assert {each["device"]["reference"] for each in written} == {f"Device/{device['id']}"}

    async def dead_letters() -> list[list[dict[str, Any]]]:
        answer = await client.get("/r4/$dead-letters")
        return [group["part"] for group in answer.json().get("parameter", [])]

    async def has_dead_letter() -> bool:
        return bool(await dead_letters())

    await until(has_dead_letter)
    [listed] = await dead_letters()
    assert "422 Unprocessable Entity: error invariant" in json.dumps(listed)
    assert "diagnostics" not in json.dumps(listed)
    [letter_id] = [part["valueString"] for part in listed if part["name"] == "id"]
    shown = (await client.get("/r4/$dead-letters", params={"id": letter_id})).json()
    [outcome] = [part["resource"] for part in shown["parameter"][0]["part"] if part["name"] == "outcome"]
    text = outcome["issue"][0]["diagnostics"]
    assert text
    status = await broker_fixture.status_of(registered["id"])
    assert text not in json.dumps(status)
    assert await broker_fixture.status(registered["id"]) == "active"


async def test_a_server_that_cannot_do_what_is_needed_sets_the_subscription_to_error(
    broker_fixture: BrokerFixture,
) -> None:
    document = write_subscription(endpoint="fhir-write:unable")
    registered = await register_subscription(broker_fixture.client, "/r4", document)
    await broker_fixture.until_status(registered["id"], "error")
    read = (await broker_fixture.client.get(f"/r4/Subscription/{registered['id']}")).json()
    assert "it has no Procedure" in read["error"]
