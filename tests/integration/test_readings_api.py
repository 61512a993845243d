"""`POST /readings`: what producers send, what is stored, and what they are answered."""

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from broker.app import Running
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture
from tests.integration.reading_fixture import DEVICES, NOW, PayloadsOfTests, add_patient, send, stored


@pytest.fixture
def mapper() -> PayloadsOfTests:
    return PayloadsOfTests()


@pytest.fixture
async def broker(start_broker: StartBroker, mapper: PayloadsOfTests) -> AsyncIterator[Running]:
    async with start_broker(mapper=lambda: mapper) as running:
        yield running


async def test_a_reading_becomes_an_observation_with_its_device_patient_and_times(
    client: httpx.AsyncClient,
) -> None:
    patient = await add_patient(client, "ana")
    response = await send(client, {"device": "d1", "patient": "ana", "hr": 72, "at": NOW})
    assert response.status_code == 201, response.text
    observation = await stored(client, response)
    assert response.headers["location"].endswith(f"/r4/Observation/{observation['id']}")
    assert observation["status"] == "final"
    assert observation["subject"] == {"reference": patient}
    assert observation["effectiveDateTime"] == NOW
    assert observation["issued"].endswith("Z")
    device = (await client.get(f"/r4/{observation['device']['reference']}")).json()
    assert device["identifier"] == [{"system": DEVICES, "value": "d1"}]
    assert (device["status"], device["serialNumber"]) == ("active", "d1")


async def test_the_same_reading_twice_is_one_observation_and_one_event(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    fixture = BrokerFixture(client, subscriber)
    await add_patient(client, "ana")
    await fixture.subscribe("a")
    reading = {"device": "d1", "patient": "ana", "hr": 72, "at": NOW}
    first = await send(client, reading)
    # the same moment in another offset, with another spelling of the number
    again = await send(client, reading | {"at": "2024-11-26T07:00:00Z"})
    other = await send(client, reading | {"seq": 2})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert again.json()["status"] == "duplicate"
    assert again.json()["observations"][0]["reference"] == first.json()["observations"][0]["reference"]
    await fixture.until_numbers("a", 2)


async def test_each_payload_of_a_batch_has_its_own_answer(client: httpx.AsyncClient) -> None:
    await add_patient(client, "ana")
    good = {"device": "d1", "patient": "ana", "hr": 72, "at": NOW}
    response = await send(
        client, good, good, {"pulse": 1}, good | {"hr": 7000}, good | {"broken": "x1y2z3"}, good | {"seq": 9}
    )
    assert response.status_code == 200
    document = response.json()
    assert {name: document[name] for name in ("accepted", "duplicate", "quarantined", "refused")} == {
        "accepted": 2,
        "duplicate": 1,
        "quarantined": 3,
        "refused": 0,
    }
    statuses = [row["status"] for row in document["results"]]
    assert statuses == ["accepted", "duplicate", *["quarantined"] * 3, "accepted"]
    (problem,) = document["results"][3]["problems"]
    assert problem["reason"] == "impossible-value"
    assert (problem["mapping"], problem["field"], problem["place"]) == ("test", "value", "hr")
    assert "7000" not in response.text
    assert "x1y2z3" not in response.text
    assert document["results"][4]["problems"][0]["reason"] == "failed"


@pytest.mark.parametrize("kind", ["ndjson", "gzip", "csv", "array of one"])
async def test_bodies_of_several_formats(client: httpx.AsyncClient, kind: str) -> None:
    await add_patient(client, "ana")
    reading = {"device": "d1", "patient": "ana", "hr": 72, "at": NOW}
    headers = {"Content-Type": "application/json"}
    content = json.dumps([reading]).encode()
    match kind:
        case "ndjson":
            headers["Content-Type"] = "application/x-ndjson"
            content = b"\n".join([json.dumps(reading).encode(), b"", b"{", b"[]"])
        case "gzip":
            headers["Content-Encoding"] = "gzip"
            content = gzip.compress(content)
        case "csv":
            headers["Content-Type"] = "text/csv; charset=utf-8"
            content = f'device,patient,hr,at\r\nd1,ana,"72",{NOW}\r\nd1,ana\r\n'.encode()
    response = await client.post("/readings", content=content, headers=headers)
    assert response.status_code == 200, response.text
    expected = {
        "ndjson": ["accepted", "quarantined", "quarantined"],
        # a CSV value is a text, which this mapper takes for no number
        "csv": ["quarantined", "quarantined"],
    }.get(kind, ["accepted"])
    assert [row["status"] for row in response.json()["results"]] == expected


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[1,", "application/json", 400),
        (b"a,b", "text/csv", 400),
        (b"<a/>", "application/xml", 415),
        (b"\x00", "application/octet-stream", 415),
        (b'{"a": ' + b"1" * 9_000_000 + b"}", "application/json", 413),
    ],
)
async def test_bodies_that_are_not_taken_are_answered_and_not_kept(
    client: httpx.AsyncClient, content: bytes, content_type: str, status: int
) -> None:
    response = await client.post("/readings", content=content, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert response.json()["resourceType"] == "OperationOutcome"
    listed = (await client.get("/r4/$dead-letters")).json()
    assert "parameter" not in listed or not listed["parameter"]


async def test_a_correction_updates_and_a_late_original_is_a_duplicate(client: httpx.AsyncClient) -> None:
    await add_patient(client, "ana")
    reading = {"device": "d1", "patient": "ana", "hr": 72, "at": NOW}
    await send(client, reading)
    corrected = await send(client, reading | {"hr": 75, "correction": "corrected"})
    assert corrected.status_code == 201
    observation = await stored(client, corrected)
    assert (observation["status"], observation["valueQuantity"]["value"]) == ("corrected", 75)
    assert observation["meta"]["versionId"] == "2"
    again = await send(client, reading | {"hr": 75, "correction": "corrected"})
    late = await send(client, reading)
    assert (again.status_code, late.status_code) == (200, 200)
    withdrawn = await send(client, reading | {"correction": "entered-in-error"})
    assert (await stored(client, withdrawn))["status"] == "entered-in-error"
    both = await send(client, reading | {"seq": 1}, reading | {"seq": 1, "correction": "amended", "hr": 80})
    assert [row["observations"][0]["version"] for row in both.json()["results"]] == ["1", "2"]


async def test_another_value_for_the_same_reading_is_no_silent_overwrite(client: httpx.AsyncClient) -> None:
    await add_patient(client, "ana")
    reading = {"device": "d1", "patient": "ana", "hr": 72, "at": NOW}
    await send(client, reading)
    response = await send(client, reading | {"hr": 99})
    assert response.status_code == 202
    assert response.json()["problems"][0]["reason"] == "conflict"


async def test_a_key_makes_a_reading_without_a_time_idempotent(client: httpx.AsyncClient) -> None:
    await add_patient(client, "ana")
    reading = {"device": "d1", "patient": "ana", "hr": 72}
    answers = [(await send(client, reading, **{"Idempotency-Key": "k1"})).status_code for _ in range(2)]
    assert answers == [201, 200]
    assert (await send(client, reading, **{"Idempotency-Key": "k2"})).status_code == 201
