"""What the API says of resources and events whose retention has passed."""

from typing import Any

import httpx
import pytest

from broker.store.protocol import Store
from broker.store.retention import Limits, Retention
from broker.testing.readings import HEART_RATE, observation
from tests.integration.broker_fixture import BrokerFixture, until, until_matched
from tests.integration.operations_client import question
from tests.metrics import read_total

AT = "2026-01-01T00:00:00Z"
SECOND_MS = 1_000


async def expire(store: Store, client: httpx.AsyncClient, delivered: int) -> None:
    """Sweeps as if all that is there were older than the retention, once it is matched and delivered."""

    async def is_delivered() -> bool:
        return await read_total(client, "broker_events_delivered_total") == delivered

    await until_matched(store)
    await until(is_delivered)
    keep_ms = -60 * SECOND_MS
    await Retention(store, Limits(keep_ms=keep_ms, types={"Observation": keep_ms})).sweep()


async def put(client: httpx.AsyncClient, kind: str, resource_id: str, **members: Any) -> httpx.Response:
    body = observation(HEART_RATE, "ana", AT, 70) if kind == "Observation" else {"resourceType": kind}
    response = await client.put(f"/r4/{kind}/{resource_id}", json=body | {"id": resource_id} | members)
    assert response.is_success, response.text
    return response


def text_of(response: httpx.Response) -> str:
    return str(response.json()["issue"][0]["details"]["text"])


async def test_an_expired_reading_is_not_found_and_its_patient_stays(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    client = broker_fixture.client
    subscription_id = await broker_fixture.subscribe("ana")
    await put(client, "Patient", "ana")
    await put(client, "Patient", "ana", active=True)
    created = await client.post(
        "/r4/Observation",
        json=observation(HEART_RATE, "ana", AT, 70) | {"identifier": [{"system": "urn:x", "value": "1"}]},
        headers={"If-None-Exist": "identifier=urn:x|1"},
    )
    path = f"/r4/Observation/{created.json()['id']}"
    assert (await client.get(path)).status_code == 200
    await broker_fixture.until_numbers("ana", 1)
    await expire(store, client, 1)

    read = await client.get(path)
    assert read.status_code == 404
    assert "its retention has passed" in text_of(read)
    assert (await client.get(f"{path}/_history/1")).status_code == 404
    assert (await client.get("/r4/Patient/ana")).json()["active"] is True
    superseded = await client.get("/r4/Patient/ana/_history/1")
    assert superseded.status_code == 410
    assert "retention of version 1 of Patient/ana has passed" in text_of(superseded)
    assert (await client.get("/r4/Patient/ana/_history/3")).status_code == 404

    again = await client.post(
        "/r4/Observation",
        json=observation(HEART_RATE, "ana", AT, 70) | {"identifier": [{"system": "urn:x", "value": "1"}]},
        headers={"If-None-Exist": "identifier=urn:x|1"},
    )
    assert again.status_code == 201, "the index forgot it too"
    await broker_fixture.until_numbers("ana", 2)
    assert await broker_fixture.event_count(subscription_id) == 2, "numbers continue"


async def test_events_of_expired_readings_are_a_named_gap(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    client = broker_fixture.client
    subscription_id = await broker_fixture.subscribe("ana")
    ids = await broker_fixture.send(2)
    await broker_fixture.until_numbers("ana", 2)
    await expire(store, client, 2)
    events = await client.get(f"/r5/Subscription/{subscription_id}/$events?eventsSinceNumber=1")
    assert events.status_code == 200, events.text
    assert "past the retention" in events.text
    resent = await client.post(f"/r5/Subscription/{subscription_id}/$resend")
    counts = {each["name"]: each["valueInteger"] for each in resent.json()["parameter"]}
    assert counts == {"resent": 0, "expired": 2, "undelivered": 0}
    explained = await client.post(
        f"/r5/Subscription/{subscription_id}/$explain", json=question(reference=f"Observation/{ids[0]}")
    )
    assert explained.status_code == 404, explained.text
    assert "not stored" in explained.text


@pytest.mark.parametrize("kind", ["Patient", "Observation"])
async def test_a_deletion_is_forgotten_after_the_retention(
    broker_fixture: BrokerFixture, store: Store, kind: str
) -> None:
    client = broker_fixture.client
    await put(client, kind, "gone")
    assert (await client.delete(f"/r4/{kind}/gone")).is_success
    assert (await client.get(f"/r4/{kind}/gone")).status_code == 410

    async def is_matched() -> bool:
        return await read_total(client, "broker_changes_matched_total") == 2

    await until(is_matched)
    await expire(store, client, 0)
    assert (await client.get(f"/r4/{kind}/gone")).status_code == 404
    assert (await put(client, kind, "gone")).headers["ETag"] == 'W/"1"'
