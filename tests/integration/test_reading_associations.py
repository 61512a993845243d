"""Whose reading it is: associations of devices and patients, identities, and readings that wait for them."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.mapping.reading import IdentityPolicy
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.reading_fixture import (
    DEVICES,
    JSON,
    PATIENTS,
    PayloadsOfTests,
    add_patient,
    dead_letters,
    send,
    stored,
)

pytestmark = pytest.mark.usefixtures("long_leases")


@pytest.fixture
def mapper() -> PayloadsOfTests:
    return PayloadsOfTests()


@pytest.fixture
async def broker(start_broker: StartBroker, mapper: PayloadsOfTests) -> AsyncIterator[Running]:
    async with start_broker(mapper=lambda: mapper) as running:
        yield running


def at(hour: int, **members: Any) -> dict[str, Any]:
    return {"device": "d1", "hr": 60 + hour, "at": f"2024-11-25T{hour:02}:00:00Z"} | members


async def add_device(client: httpx.AsyncClient, **members: Any) -> str:
    device = {
        "resourceType": "Device",
        "identifier": [{"system": DEVICES, "value": "d1"}],
        "status": "active",
    }
    response = await client.post("/r4/Device", json=device | members)
    assert response.status_code == 201, response.text
    return f"Device/{response.json()['id']}"


async def associate(
    client: httpx.AsyncClient, kind: str, device: str, patient: str, start: int, end: int
) -> None:
    """From the hour `start` until before `end`."""
    period = {"start": f"2024-11-25T{start:02}:00:00Z", "end": f"2024-11-25T{end - 1:02}:59:59Z"}
    references = {"device": {"reference": device}}
    forms: dict[str, tuple[str, dict[str, Any]]] = {
        "DeviceUseStatement": (
            "r4",
            {"status": "active", "subject": {"reference": patient}, "timingPeriod": period},
        ),
        "DeviceUsage": (
            "r5",
            {
                "status": "active",
                "patient": {"reference": patient},
                "timingPeriod": period,
                "device": {"reference": {"reference": device}},
            },
        ),
        "DeviceAssociation": (
            "r5",
            {
                "status": {
                    "coding": [{"system": "http://hl7.org/fhir/deviceassociation-status", "code": "attached"}]
                },
                "subject": {"reference": patient},
                "period": period,
            },
        ),
    }
    base, members = forms[kind]
    response = await client.post(f"/{base}/{kind}", json={"resourceType": kind} | references | members)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("kind", ["DeviceUseStatement", "DeviceAssociation", "DeviceUsage"])
async def test_the_patient_is_who_had_the_device_at_the_effective_time(
    client: httpx.AsyncClient, kind: str
) -> None:
    device = await add_device(client)
    ana, bea = await add_patient(client, "ana"), await add_patient(client, "bea")
    await associate(client, kind, device, ana, 8, 12)
    await associate(client, kind, device, bea, 12, 20)
    morning, noon = await send(client, at(9)), await send(client, at(12))
    assert (await stored(client, morning))["subject"] == {"reference": ana}
    assert (await stored(client, noon))["subject"] == {"reference": bea}
    # late, but it keeps its time and its patient
    assert (await stored(client, await send(client, at(8))))["subject"] == {"reference": ana}
    nobody = await send(client, at(21))
    assert nobody.status_code == 202
    assert nobody.json()["problems"][0]["reason"] == "unassociated"
    await associate(client, kind, device, ana, 11, 13)
    numbers = itertools.count(1)

    async def is_ambiguous() -> bool:
        """A reading meets the association when the message of its write has arrived."""
        both = await send(client, at(12, seq=next(numbers)))
        return "problems" in both.json() and both.json()["problems"][0]["reason"] == "ambiguous-association"

    await until(is_ambiguous)


async def test_the_patient_of_the_device_is_the_simple_form(client: httpx.AsyncClient) -> None:
    ana = await add_patient(client, "ana")
    await add_device(client, patient={"reference": ana})
    assert (await stored(client, await send(client, at(9))))["subject"] == {"reference": ana}


async def test_readings_that_wait_for_an_association_are_processed_in_the_order_of_their_times(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    fixture = BrokerFixture(client, subscriber)
    await fixture.subscribe("a", content="full-resource")
    response = await send(client, at(11), at(9), at(10), at(9))
    results = response.json()["results"]
    assert [row["status"] for row in results] == ["quarantined"] * 4
    assert results[1]["deadLetter"] == results[3]["deadLetter"], "sent twice, kept once"
    assert len(await dead_letters(client, kind="reading", reason="unassociated")) == 3
    ana = await add_patient(client, "ana")
    reference = await device_reference(client)
    await associate(client, "DeviceUseStatement", reference, ana, 8, 20)
    endpoint = await fixture.until_numbers("a", 3)
    values = [
        resource["valueQuantity"]["value"]
        for notification in endpoint.of_type("event-notification")
        for resource in notification.resources
        if resource["resourceType"] == "Observation"
    ]
    assert values == [69, 70, 71]

    async def are_settled() -> bool:
        """A reading leaves the quarantine after it was stored."""
        return not await dead_letters(client)

    await until(are_settled)


async def device_reference(client: httpx.AsyncClient) -> str:
    """The Device that the first reading created: a conditional create finds it."""
    response = await client.post(
        "/r4/Device",
        json={"resourceType": "Device", "identifier": [{"system": DEVICES, "value": "d1"}]},
        headers={"If-None-Exist": f"identifier={DEVICES}|d1"},
    )
    assert response.status_code == 200, response.text
    return f"Device/{response.json()['id']}"


async def test_a_reading_of_an_unknown_patient_waits_for_it_and_may_create_it_by_policy(
    client: httpx.AsyncClient, mapper: PayloadsOfTests
) -> None:
    waiting = await send(client, at(9, patient="ana"))
    assert waiting.status_code == 202
    assert waiting.json()["problems"][0]["reason"] == "unknown-patient"
    ana = await add_patient(client, "ana")

    async def is_stored() -> bool:
        return not await dead_letters(client)

    await until(is_stored)
    again = await send(client, at(9, patient="ana"))
    assert again.json()["status"] == "duplicate"
    assert (await stored(client, again))["subject"] == {"reference": ana}
    mapper.patients = IdentityPolicy.CREATE
    created = await stored(client, await send(client, at(9, patient="new")))
    patient = (await client.get(f"/r4/{created['subject']['reference']}")).json()
    assert patient["identifier"] == [{"system": PATIENTS, "value": "new"}]
    mapper.patients = IdentityPolicy.REFUSE
    refused = await send(client, at(10, patient="ana"))
    assert refused.status_code == 422
    assert refused.json()["problems"][0]["reason"] == "refused-identity"
    assert await dead_letters(client) == []


async def test_readings_of_a_device_that_is_not_in_use_wait_until_it_is(client: httpx.AsyncClient) -> None:
    ana = await add_patient(client, "ana")
    device = await add_device(client, status="inactive", patient={"reference": ana})
    response = await send(client, at(9))
    assert response.json()["problems"][0]["reason"] == "device-inactive"
    document = (await client.get(f"/r4/{device}")).json()
    await client.put(f"/r4/{device}", json=document | {"status": "active"})

    async def is_stored() -> bool:
        return not await dead_letters(client)

    await until(is_stored)
    # known to be in use now; then no more
    assert (await send(client, at(10))).status_code == 201
    await client.put(f"/r4/{device}", json=document | {"status": "entered-in-error"})

    async def is_refused() -> bool:
        answer = await send(client, at(11))
        return answer.status_code == 202

    await until(is_refused)


async def test_many_readings_of_a_new_device_create_one_device_and_one_metric(
    client: httpx.AsyncClient,
) -> None:
    await add_patient(client, "ana")
    answer = await send(
        client, *(at(hour, patient="ana", seq=seq) for hour in range(20) for seq in range(10))
    )
    assert answer.json()["accepted"] == 200
    devices = set()
    for row in answer.json()["results"][::20]:
        observation = (await client.get(f"/r4/{row['observations'][0]['reference']}")).json()
        devices.add(observation["device"]["reference"])
    assert len(devices) == 1
    metrics = (await client.get("/metrics")).text
    # 200 Observations, a Patient, a Device and a DeviceMetric
    assert 'broker_changes_accepted_total{interaction="create"} 203.0' in metrics
    assert 'broker_readings_total{status="accepted"}' in metrics


async def test_the_gateway_is_a_device_of_its_own(client: httpx.AsyncClient) -> None:
    await add_patient(client, "ana")
    response = await client.post(f"/readings?gateway={DEVICES}|hub", json=at(9, patient="ana"), headers=JSON)
    observation = await stored(client, response)
    (extension,) = observation["extension"]
    assert extension["url"] == "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"
    gateway = (await client.get(f"/r4/{extension['valueReference']['reference']}")).json()
    assert gateway["identifier"][0]["value"] == "hub"
    # the same reading by another gateway
    again = await client.post(f"/readings?gateway={DEVICES}|hub2", json=at(9, patient="ana"), headers=JSON)
    assert again.json()["status"] == "duplicate"
