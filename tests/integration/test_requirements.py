"""Rows of the specification that no other test of this folder shows, over HTTP. Several rows share one broker
and its own topics.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import websockets

from broker.model.release import Release
from broker.testing.notifications import read_notification
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import read_back
from tests.integration.broker_fixture import BrokerFixture, Gate, Script

NOWHERE = "http://127.0.0.1:9/never"
T = "http://example.org/topics"
ALWAYS = [{"resource": "Flag"}]
TOPICS: list[dict[str, Any]] = [
    {"id": "any", "url": f"{T}/any", "resourceTrigger": [*ALWAYS, *ALWAYS]},
    {
        "id": "created",
        "url": f"{T}/created",
        "resourceTrigger": [{"resource": "Flag", "supportedInteraction": ["create"]}],
    },
    {"id": "everything", "url": f"{T}/everything", "resourceTrigger": [{"resource": "Resource"}]},
    {
        "id": "patients",
        "url": f"{T}/patients",
        "resourceTrigger": ALWAYS,
        "canFilterBy": [{"resource": "Flag", "filterParameter": "patient"}],
    },
    {"id": "silent", "url": f"{T}/silent"},
    {"id": "old", "url": f"{T}/versions", "version": "1.9", "resourceTrigger": ALWAYS},
    {"id": "new", "url": f"{T}/versions", "version": "1.10", "resourceTrigger": ALWAYS},
    {"id": "gone", "url": f"{T}/versions", "version": "2", "status": "retired", "resourceTrigger": ALWAYS},
    {"id": "draft", "url": f"{T}/draft", "status": "draft", "resourceTrigger": ALWAYS},
    {"id": "unknown", "url": f"{T}/unknown", "status": "unknown", "resourceTrigger": ALWAYS},
]


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
            base_url=broker.settings.base_url, headers=headers, timeout=10, trust_env=False
        ) as client,
    ):
        yield BrokerFixture(client, subscriber)


def flag(flag_id: str, patient: str = "p1") -> dict[str, Any]:
    return {
        "resourceType": "Flag",
        "id": flag_id,
        "status": "active",
        "code": {"text": "falls"},
        "subject": {"reference": f"Patient/{patient}"},
    }


async def put(broker_fixture: BrokerFixture, flag_id: str, patient: str = "p1") -> int:
    response = await broker_fixture.client.put(f"/r4/Flag/{flag_id}", json=flag(flag_id, patient))
    return response.status_code


async def test_r_020_to_r_026_each_interaction_fires_its_triggers(broker_fixture: BrokerFixture) -> None:
    """An update that changes nothing is one too; one that creates is a create; a topic without triggers never
    fires.
    """
    names = ("any", "created", "everything", "silent")
    ids = {name: await broker_fixture.subscribe(name, topic=f"{T}/{name}") for name in names}
    assert [await put(broker_fixture, "f1") for _ in range(2)] == [201, 200]
    assert (await broker_fixture.client.delete("/r4/Flag/f1")).status_code == 204
    assert await put(broker_fixture, "f1") == 201
    patient = {"resourceType": "Patient", "id": "p1"}
    assert (await broker_fixture.client.put("/r5/Patient/p1", json=patient)).status_code == 201
    counts = {"any": 4, "created": 2, "everything": 5}
    for name, count in counts.items():
        await broker_fixture.until_numbers(name, count)
        assert await broker_fixture.events(ids[name]) == list(range(1, count + 1)), (
            "R-021: one event per change, though two triggers of `any` fire"
        )
    assert await broker_fixture.events(ids["silent"]) == [], "R-012"


async def test_r_069_r_273_filters_read_the_new_state_or_the_deleted_one(
    broker_fixture: BrokerFixture,
) -> None:
    """Only what passes is counted."""
    subscription_id = await broker_fixture.subscribe(
        "one", topic=f"{T}/patients", filters=["patient=Patient/p1"]
    )
    await broker_fixture.subscribe("all", topic=f"{T}/patients")
    await put(broker_fixture, "f1", "p1")
    await put(broker_fixture, "f1", "p2")
    await put(broker_fixture, "f1", "p1")
    await broker_fixture.client.delete("/r4/Flag/f1")
    await put(broker_fixture, "f2", "p2")
    await broker_fixture.client.delete("/r4/Flag/f2")
    await broker_fixture.until_numbers("all", 6)
    await broker_fixture.until_numbers("one", 3)
    assert (await broker_fixture.status_of(subscription_id))["eventsSinceSubscriptionStart"] == "3"


async def test_r_013_a_topic_without_a_version_means_the_newest_that_is_not_retired(
    broker_fixture: BrokerFixture,
) -> None:
    for named, bound in (
        (f"{T}/versions", "1.10"),
        (f"{T}/versions|1.9", "1.9"),
        (f"{T}/versions|1.10", "1.10"),
    ):
        document = subscription("r5", named, NOWHERE) | {"status": "off"}
        accepted = (await broker_fixture.client.post("/r5/Subscription", json=document)).json()
        assert accepted["topic"] == named, "as it was sent"
        results = (
            await broker_fixture.client.get("/r5/Subscription", params={"topic": f"{T}/versions|{bound}"})
        ).json()
        assert accepted["id"] in {entry["resource"]["id"] for entry in results["entry"]}
    for refused in ("versions|2", "versions|3", "draft", "unknown", "nothing"):
        for release in Release:
            document = subscription(release, f"{T}/{refused}", NOWHERE)
            response = await broker_fixture.client.post(f"/{release}/Subscription", json=document)
            assert response.status_code == 422, refused
            (issue,) = response.json()["issue"]
            assert issue["code"] == "not-supported", "R-171, R-176"
            assert issue["expression"] == [
                "Subscription.topic" if release is Release.R5 else "Subscription.criteria"
            ]


async def test_r_175_r_301_the_content_type_is_stored_and_sent_unchanged(
    broker_fixture: BrokerFixture,
) -> None:
    for release, version in (("r4", "4.0"), ("r4", "4.0.1"), ("r4b", "4.3"), ("r5", "5.0")):
        written = f"application/fhir+json; fhirVersion={version}"
        name = f"{release}-{version}"
        document = broker_fixture.document(name, topic=f"{T}/any", release=release)
        if release == "r5":
            document["contentType"] = written
        else:
            document["channel"]["payload"] = written
        accepted = (await broker_fixture.client.post(f"/{release}/Subscription", json=document)).json()
        assert accepted.get("contentType", accepted.get("channel", {}).get("payload")) == written
        await broker_fixture.until_status(accepted["id"], "active")
        (handshake,) = broker_fixture.subscriber.endpoint(name).received
        assert [value for key, value in handshake.headers if key.lower() == "content-type"] == [written]


async def test_r_264_without_a_period_or_while_requested_or_off_there_is_no_heartbeat(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("plain", topic=f"{T}/any")
    await broker_fixture.subscribe("zero", topic=f"{T}/any", heartbeat_s=0)
    off = await broker_fixture.subscribe("off", topic=f"{T}/any", heartbeat_s=1)
    await broker_fixture.request_again(off, status="off")
    received_before = len(broker_fixture.subscriber.endpoint("off").received)
    gate = broker_fixture.subscriber.endpoint("requested").answer = Gate()
    pending = broker_fixture.document("requested", topic=f"{T}/any", heartbeat_s=1)
    assert (await broker_fixture.client.post("/r5/Subscription", json=pending)).status_code == 201
    await broker_fixture.subscribe("beating", topic=f"{T}/any", heartbeat_s=1)
    beating = broker_fixture.subscriber.endpoint("beating")
    assert await broker_fixture.subscriber.wait_until(lambda: len(beating.of_type("heartbeat")) >= 2)
    assert (gate.inside, broker_fixture.subscriber.endpoint("requested").received) == (1, [])
    gate.opened.set()
    for name in ("plain", "zero"):
        assert [n.type for n in broker_fixture.subscriber.endpoint(name).notifications] == ["handshake"]
    assert len(broker_fixture.subscriber.endpoint("off").received) == received_before


async def test_r_155_r_157_the_error_is_reported_in_each_release_until_it_is_active_again(
    broker_fixture: BrokerFixture,
) -> None:
    broker_fixture.subscriber.endpoint("a").answer = Script(503)
    document = broker_fixture.document("a", topic=f"{T}/any", release="r4")
    subscription_id = (await broker_fixture.client.post("/r4/Subscription", json=document)).json()["id"]
    await broker_fixture.until_status(subscription_id, "error")
    for release in Release:
        read = await broker_fixture.client.get(f"/{release}/Subscription/{subscription_id}")
        read_back(release, read.content)
        assert read.json()["status"] == "error"
        assert ("503" in read.json().get("error", "")) is (release is not Release.R5), "R-131"
        status = (await broker_fixture.client.get(f"/{release}/Subscription/{subscription_id}/$status")).text
        assert "error-response" in status, "R-267"
    again = document | {"id": subscription_id, "error": "the client says so"}
    accepted = (await broker_fixture.client.put(f"/r4/Subscription/{subscription_id}", json=again)).json()
    assert "error" not in accepted
    await broker_fixture.until_status(subscription_id, "active")
    assert "error" not in (await broker_fixture.client.get(f"/r4/Subscription/{subscription_id}")).json()
    assert await broker_fixture.error_code(subscription_id) is None


async def test_r_360_r_361_at_one_subscription_id_and_status_are_ignored(
    broker_fixture: BrokerFixture,
) -> None:
    document = subscription("r4", f"{T}/any", NOWHERE) | {"status": "off"}
    subscription_id = (await broker_fixture.client.post("/r4/Subscription", json=document)).json()["id"]
    for release in Release:
        answer = await broker_fixture.client.get(
            f"/{release}/Subscription/{subscription_id}/$status?id=another&status=active"
        )
        assert answer.status_code == 200
        read_back(release, answer.content)
        assert [entry["resource"]["resourceType"] for entry in answer.json()["entry"]] == [
            "Parameters" if release is Release.R4 else "SubscriptionStatus"
        ]
        for url in (
            f"/{release}/Subscription/nobody/$status",
            f"/{release}/Subscription/nobody/$events",
            f"/{release}/Subscription/nobody/$get-ws-binding-token",
        ):
            assert (await broker_fixture.client.get(url)).status_code == 404


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
        full = subscription(release, f"{T}/everything", NOWHERE, content="full-resource")
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
            async with asyncio.timeout(10):
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
