"""Element lists of a topic cut what leaves, in every channel and release, whatever a Subscription names."""

import json
from pathlib import Path
from typing import Any

from broker.fhir.payload_elements import PAYLOAD_ELEMENT
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, broker_with
from tests.integration.channel_taps import CHANNELS, mailbox, taps_of
from tests.integration.guarded_broker import (
    ALL_OBSERVATIONS,
    OBSERVATIONS,
    GuardedBroker,
    guarded,
    observation,
    patient,
)
from tests.integration.operations_client import groups, question, value

__all__ = ["guarded"]
RELEASES = ("r4", "r4b", "r5")
ALLOWED = ("Observation.subject", "Observation.valueString", "Observation.note", "Patient.name")
WANTED = ("Observation.valueString", "Observation.effectiveDateTime", "Patient.birthDate")
PERSON = patient("p1") | {"name": [{"family": "Sent"}], "birthDate": "1950-05-05", "gender": "female"}
READING = observation("o1") | {"valueString": "sent", "note": [{"text": "sent note"}]}
CUT = READING | {"effectiveDateTime": "2025-03-01", "bodySite": {"text": "cut-site"}}


def limited_topic() -> dict[str, Any]:
    extensions = [{"url": PAYLOAD_ELEMENT, "valueString": name} for name in ALLOWED]
    return {
        "resourceType": "SubscriptionTopic",
        "id": "observations",
        "url": OBSERVATIONS,
        "version": "1",
        "status": "active",
        "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create", "update"]}],
        "notificationShape": [
            {"resource": "Observation", "include": ["Observation:patient"], "extension": extensions}
        ],
    }


async def test_the_lists_of_a_topic_hold_in_every_channel(
    start_broker: StartBroker, guarded: GuardedBroker, tmp_path: Path
) -> None:
    topics = tmp_path / "topics"
    topics.mkdir()
    (topics / "observations.json").write_text(json.dumps(limited_topic()))
    async with (
        mailbox() as mails,
        guarded.started(start_broker, ALL_OBSERVATIONS, topics_dir=topics, smtp_url=mails.url) as broker,
        taps_of(broker, mails) as taps,
    ):
        await taps.register()
        await taps.open()
        await broker.put(PERSON)
        await broker.put(CUT)
        await taps.until_arrived("Observation/o1")
        arrived = {channel: taps.arrived(channel) for channel in CHANNELS}
        for channel, subscription_id in taps.ids.items():
            events = await broker.ward.get(f"/r5/Subscription/{subscription_id}/$events")
            arrived[f"$events of {channel}"] = events.text
        for channel, text in arrived.items():
            assert [word for word in ("cut-site", "1950", "female") if word in text] == [], channel
            has_resources = "email" not in channel  # mail has references only
            assert ("sent note" in text) == has_resources, channel
            assert ("Sent" in text) == has_resources, channel


async def test_a_subscription_gets_what_it_and_the_topic_name(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as desk:
        put = await desk.client.put("/r5/SubscriptionTopic/observations", json=limited_topic())
        assert put.status_code == 201, put.text
        ids = {release: await _register(desk, release) for release in RELEASES}
        for resource in (PERSON, CUT):
            path = f"/r4/{resource['resourceType']}/{resource['id']}"
            assert (await desk.client.put(path, json=resource)).status_code == 201
        for release in RELEASES:
            endpoint = await desk.until_numbers(release, 1)
            for other in RELEASES:
                queried = await desk.client.get(f"/{other}/Subscription/{ids[release]}/$events")
                for body in (endpoint.received[-1].body, queried.content):
                    assert _members(body) == {
                        "Observation": {"status", "code", "valueString"},
                        "Patient": {"active"},  # a modifier element
                    }
        await _check_diagnosis(desk, ids["r4"])
        await _check_without_topic(desk, ids["r5"])


async def _register(desk: BrokerFixture, release: str) -> str:
    document = _document(release, desk.subscriber.url(release))
    registered = await register_subscription(desk.client, f"/{release}", document)
    subscription_id = str(registered["id"])
    await desk.until_status(subscription_id, "active")
    return subscription_id


def _document(release: str, url: str) -> dict[str, Any]:
    document = subscription(release, OBSERVATIONS, url, content="full-resource")
    document["extension"] = [{"url": PAYLOAD_ELEMENT, "valueString": name} for name in WANTED]
    return document


def _members(body: bytes) -> dict[str, set[str]]:
    """The elements of each resource, without those that every resource has."""
    resources = [entry["resource"] for entry in json.loads(body)["entry"][1:]]
    return {each["resourceType"]: set(each) - {"resourceType", "id", "meta"} for each in resources}


async def _check_diagnosis(desk: BrokerFixture, subscription_id: str) -> None:
    """`$explain`, `$dry-run` and the registration say what is sent."""
    explained = await desk.client.post(
        f"/r4/Subscription/{subscription_id}/$explain", json=question(reference="Observation/o1")
    )
    document = _document("r4", "http://127.0.0.1:1/")
    tried = await desk.client.post("/r4/Subscription/$dry-run", json=question(subscription=document))
    for answer in (explained, tried):
        assert answer.status_code == 200, answer.text
        (payload,) = groups(answer.json(), "payload")
        assert value(payload, "content") == "full-resource"
        limits = {
            value(limit, "resource"): [part["valueString"] for part in limit if part["name"] == "element"]
            for limit in groups(payload, "limit")
        }
        assert limits == {"Observation": ["valueString"], "Patient": []}
    headers = {"Prefer": "return=OperationOutcome"}
    registered = await desk.client.post("/r4/Subscription", json=document, headers=headers)
    texts = [issue["details"]["text"] for issue in registered.json()["issue"]]
    assert "The topic does not send Observation.effectiveDateTime, Patient.birthDate." in texts


async def _check_without_topic(desk: BrokerFixture, subscription_id: str) -> None:
    """Nobody can say any more what may be sent, so resources stay here."""
    listed = (await desk.client.get("/r5/Subscription")).json()
    for entry in listed["entry"]:
        document, url = entry["resource"], f"/r5/Subscription/{entry['resource']['id']}"
        if document["id"] == subscription_id:
            response = await desk.client.put(url, json=document | {"status": "off"})
            assert response.status_code == 200, response.text
        else:
            assert (await desk.client.delete(url)).status_code == 204
    assert (await desk.client.delete("/r5/SubscriptionTopic/observations")).status_code == 204
    queried = (await desk.client.get(f"/r5/Subscription/{subscription_id}/$events")).json()
    status = queried["entry"][0]["resource"]
    assert status["notificationEvent"][0]["focus"]["reference"].endswith("Observation/o1")
    assert "Observation/o1/_history/1 is not included: its topic is no longer served." in str(status["error"])
    assert [entry for entry in queried["entry"][1:] if "resource" in entry] == []
