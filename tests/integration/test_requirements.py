"""Rows of the specification that no other test of this folder shows, over HTTP. Several rows share one broker
and its own topics.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from broker.model.release import Release
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import read_back
from tests.integration.broker_fixture import BrokerFixture, Gate, Script
from tests.integration.flag_topics import NOWHERE, TOPICS, T, put

pytestmark = pytest.mark.usefixtures("long_leases")


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
    pending = broker_fixture.document("requested", topic=f"{T}/any", heartbeat_s=1, timeout_s=60)
    assert (await broker_fixture.client.post("/r5/Subscription", json=pending)).status_code == 201
    await gate.until_entered()
    await broker_fixture.subscribe("beating", topic=f"{T}/any", heartbeat_s=1)
    beating = broker_fixture.subscriber.endpoint("beating")
    assert await broker_fixture.subscriber.wait_until(lambda: len(beating.of_type("heartbeat")) >= 3)
    assert (gate.inside, broker_fixture.subscriber.endpoint("requested").received) == (1, [])
    gate.opened.set()
    for name in ("plain", "zero"):
        assert [n.type for n in broker_fixture.subscriber.endpoint(name).notifications] == ["handshake"]
    # a heartbeat may have been under way when it was turned off, if that came a second later
    assert len(broker_fixture.subscriber.endpoint("off").received) <= received_before + 1


async def test_r_155_r_157_the_error_is_reported_in_each_release_until_it_is_active_again(
    broker_fixture: BrokerFixture,
) -> None:
    broker_fixture.subscriber.endpoint("a").answer = Script(500)
    document = broker_fixture.document("a", topic=f"{T}/any", release="r4")
    subscription_id = (await broker_fixture.client.post("/r4/Subscription", json=document)).json()["id"]
    await broker_fixture.until_status(subscription_id, "error")
    for release in Release:
        read = await broker_fixture.client.get(f"/{release}/Subscription/{subscription_id}")
        read_back(release, read.content)
        assert read.json()["status"] == "error"
        assert ("500" in read.json().get("error", "")) is (release is not Release.R5), "R-131"
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
