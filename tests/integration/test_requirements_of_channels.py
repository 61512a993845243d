"""Requirement rows about websockets, messages and registration that no other file covers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import websockets

from broker.model.release import Release
from broker.receiver.notifications import read_notification
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import read_back
from tests.integration.broker_fixture import BrokerFixture, Gate
from tests.integration.flag_topics import NOWHERE, TOPICS, T, put


@pytest.fixture
async def broker_fixture(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> AsyncIterator[BrokerFixture]:
    """A broker that serves the topics above."""
    for item in TOPICS:
        document = {"resourceType": "SubscriptionTopic", "status": "active"} | item
        (tmp_path / f"{item['id']}.json").write_bytes(orjson.dumps(document))
    headers = {"Content-Type": "application/fhir+json"}
    async with (
        start_broker(topics_dir=tmp_path) as broker,
        httpx.AsyncClient(
            base_url=broker.settings.base_url, headers=headers, timeout=30, trust_env=False
        ) as client,
    ):
        yield BrokerFixture(client, subscriber)


def _websocket(release: str) -> dict[str, Any]:
    document = subscription(release, f"{T}/any", NOWHERE)
    if release == "r5":
        document["channelType"]["code"] = "websocket"
        del document["endpoint"]
    else:
        document["channel"]["type"] = "websocket"
        del document["channel"]["endpoint"]
    return document


async def test_r_153_r_366_a_binding_token_is_returned_as_parameters_by_get_and_post(
    broker_fixture: BrokerFixture,
) -> None:
    for release in Release:
        answer = await broker_fixture.client.post(f"/{release}/Subscription", json=_websocket(release))
        assert answer.json()["status"] == "active", "R-153"
        subscription_id = answer.json()["id"]
        everyone = f"/{release}/Subscription/$get-ws-binding-token"
        request_body = {
            "resourceType": "Parameters",
            "parameter": [{"name": "id", "valueId": subscription_id}],
        }
        for response in (
            await broker_fixture.client.get(
                f"/{release}/Subscription/{subscription_id}/$get-ws-binding-token?id=another"
            ),
            await broker_fixture.client.post(
                f"/{release}/Subscription/{subscription_id}/$get-ws-binding-token"
            ),
            await broker_fixture.client.get(f"{everyone}?id={subscription_id}"),
            await broker_fixture.client.post(everyone, json=request_body),
            await broker_fixture.client.post(everyone),
        ):
            assert response.status_code == 200
            read_back(release, response.content)
            reported = {(p["name"], *(p.keys() - {"name"})) for p in response.json()["parameter"]}
            assert reported == {
                ("token", "valueString"),
                ("expiration", "valueDateTime"),
                ("subscription", "valueString"),
                ("websocket-url", "valueUrl"),
            }
        await broker_fixture.client.delete(f"/{release}/Subscription/{subscription_id}")


async def test_r_153_a_message_subscription_is_requested_until_its_handshake_is_answered(
    broker_fixture: BrokerFixture,
) -> None:
    gate = broker_fixture.subscriber.endpoint("$process-message").answer = Gate()
    document = subscription("r4", f"{T}/any", broker_fixture.subscriber.url("").rstrip("/"))
    document["channel"]["type"] = "message"
    accepted = (await broker_fixture.client.post("/r4/Subscription", json=document)).json()
    assert accepted["status"] == "requested"
    await gate.until_entered()
    assert await broker_fixture.status(accepted["id"]) == "requested"
    gate.opened.set()
    await broker_fixture.until_status(accepted["id"], "active")


async def test_r_178_r_181_a_create_returns_its_location_and_a_put_may_create(
    broker_fixture: BrokerFixture,
) -> None:
    for release in Release:
        document = subscription(release, f"{T}/any", NOWHERE) | {"status": "off"}
        made = await broker_fixture.client.post(f"/{release}/Subscription", json=document)
        assert made.status_code == 201
        assert f"/{release}/Subscription/{made.json()['id']}" in made.headers["Location"]
        assert made.json()["status"] == "off", "R-151"
        put_one = await broker_fixture.client.put(
            f"/{release}/Subscription/mine-{release}", json=document | {"id": f"mine-{release}"}
        )
        assert put_one.status_code == 201
        assert (await broker_fixture.client.get(f"/{release}/Subscription/mine-{release}")).status_code == 200


async def test_r_343_r_120_r_174_an_unsupported_subscription_is_refused_and_not_stored(
    broker_fixture: BrokerFixture,
) -> None:
    for release in (Release.R4, Release.R4B):
        sms = subscription(release, f"{T}/any", NOWHERE)
        sms["channel"]["type"] = "sms"
        query = subscription(release, "Flag?status=active", NOWHERE)
        full = subscription(release, f"{T}/later", NOWHERE, content="full-resource")
        for document in (sms, query, full):
            response = await broker_fixture.client.post(f"/{release}/Subscription", json=document)
            assert response.status_code == 422
            assert response.json()["issue"][0]["code"] == "not-supported"
    assert (await broker_fixture.client.get("/r5/Subscription")).json()["total"] == 0


@pytest.mark.parametrize("how", ["delete", "off"])
async def test_r_326_a_bound_connection_gets_no_notification_after_delete_or_off(
    broker_fixture: BrokerFixture, how: str
) -> None:
    document = _websocket("r5")
    subscription_id = (await broker_fixture.client.post("/r5/Subscription", json=document)).json()["id"]
    url = f"/r5/Subscription/{subscription_id}"
    token = (await broker_fixture.client.get(f"{url}/$get-ws-binding-token")).json()["parameter"]
    reported = {each["name"]: each.get("valueString") or each.get("valueUrl") for each in token}
    async with websockets.connect(reported["websocket-url"]) as socket:
        await socket.send(f"bind-with-token {reported['token']}")
        for kind in ("handshake", "event-notification"):
            async with asyncio.timeout(60):
                assert read_notification(str(await socket.recv()).encode()).type == kind
            if kind == "handshake":
                await put(broker_fixture, "f1")
        if how == "delete":
            assert (await broker_fixture.client.delete(url)).status_code == 204
        else:
            off = await broker_fixture.client.put(
                url, json=document | {"id": subscription_id, "status": "off"}
            )
            assert off.json()["status"] == "off"
        await broker_fixture.subscribe("witness", topic=f"{T}/any")
        await put(broker_fixture, "f2")
        await broker_fixture.until_numbers("witness", 1)
        with pytest.raises((TimeoutError, websockets.ConnectionClosed)):
            async with asyncio.timeout(0.3):
                await socket.recv()


def reading(**changed: Any) -> dict[str, Any]:
    """A blood pressure with its two components, by a device."""
    loinc, ucum = "http://loinc.org", "http://unitsofmeasure.org"
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    systolic = {"value": 130, "unit": "mmHg", "system": ucum, "code": "mm[Hg]"}
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": category, "code": "vital-signs"}]}],
        "code": {"coding": [{"system": loinc, "code": "8480-6"}]},
        "subject": {"reference": "Patient/1"},
        "device": {"reference": "Device/9"},
        "effectiveDateTime": "2024-03-01T08:00:00Z",
        "valueQuantity": systolic,
        "component": [
            {"code": {"coding": [{"system": loinc, "code": "8480-6"}]}, "valueQuantity": systolic},
        ],
    } | changed


@pytest.mark.parametrize("release", ["r4", "r5"])
async def test_r_411_device_readings_are_filtered_by_every_parameter(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, release: str
) -> None:
    broker_fixture = BrokerFixture(client, subscriber)
    request_body = [
        "code=http://loinc.org|8480-6",
        "category=vital-signs",
        "patient=Patient/1",
        "device=Device/9",
        "value-quantity=gt120",
        "date=ge2024-01-01",
        "component-code=8480-6",
        "component-value-quantity=gt120",
        "code-value-quantity=8480-6$gt120",
    ]
    await broker_fixture.subscribe("device", release=release, filters=request_body)
    await broker_fixture.subscribe("all", release=release)
    others: list[dict[str, Any]] = [
        {"subject": {"reference": "Patient/2"}},
        {"device": {"reference": "Device/8"}},
        {"effectiveDateTime": "2023-12-31T08:00:00Z"},
        {"valueQuantity": {"value": 110}},
    ]
    for changed in [*others, {}]:
        assert (await client.post("/r4/Observation", json=reading(**changed))).status_code == 201
    await broker_fixture.until_numbers("all", 5)
    await broker_fixture.until_numbers("device", 1)
