"""Element lists of a Subscription cut what its notifications carry."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.fhir.payload_elements import PAYLOAD_ELEMENT
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, broker_with
from tests.integration.guarded_broker import OBSERVATIONS, observation, patient, write_topic

RELEASES = ("r4", "r4b", "r5")
NAMES = ("Observation.subject", "Observation.valueString", "Patient.active")
READING = observation("o1") | {"valueString": "secret-free", "note": [{"text": "private-note"}]}
PERSON = patient("p1") | {"name": [{"family": "private-name"}], "birthDate": "1950-05-05"}


@pytest.fixture
async def desk(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> AsyncIterator[BrokerFixture]:
    topics = write_topic(tmp_path / "topics")
    async with broker_with(start_broker, subscriber, topics_dir=topics) as fixture:
        yield fixture


def limited(release: str, url: str, names: tuple[str, ...] = NAMES, content: str = "full-resource") -> Any:
    document = subscription(release, OBSERVATIONS, url, content=content)
    document["extension"] = [{"url": PAYLOAD_ELEMENT, "valueString": name} for name in names]
    return document


async def test_notifications_and_events_carry_the_named_and_mandatory_elements(desk: BrokerFixture) -> None:
    ids = {}
    for release in RELEASES:
        document = limited(release, desk.subscriber.url(release))
        registered = await register_subscription(desk.client, f"/{release}", document)
        ids[release] = registered["id"]
        await desk.until_status(ids[release], "active")
    for resource in (PERSON, READING):
        path = f"/r4/{resource['resourceType']}/{resource['id']}"
        assert (await desk.client.put(path, json=resource)).status_code == 201
    for release in RELEASES:
        endpoint = await desk.until_numbers(release, 1)
        queried = (await desk.client.get(f"/{release}/Subscription/{ids[release]}/$events")).json()
        for bundle in (json.loads(endpoint.received[-1].body), queried):
            resources = {
                entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"][1:]
            }
            reading, person = resources["Observation"], resources["Patient"]
            assert set(reading) == {
                "resourceType", "id", "meta", "status", "code", "subject", "valueString"
            }  # fmt: skip
            assert set(person) == {"resourceType", "id", "meta", "active"}
            assert "SUBSETTED" in {tag["code"] for tag in reading["meta"]["tag"]}
            assert "private" not in json.dumps(bundle)
        for other in RELEASES:
            shown = (await desk.client.get(f"/{other}/Subscription/{ids[release]}")).json()
            named = [each["valueString"] for each in shown["extension"] if each["url"] == PAYLOAD_ELEMENT]
            assert named == list(NAMES), f"registered at {release}, read at {other}"
    stored = await desk.client.get("/r4/Observation/o1")
    assert "private-note" in stored.text


@pytest.mark.parametrize("release", RELEASES)
async def test_an_element_that_the_type_lacks_is_refused(desk: BrokerFixture, release: str) -> None:
    for name in ("Observation.valueQantity", "Observations.code", "status", "Observation"):
        document = limited(release, desk.subscriber.url("never"), ("Observation.code", name))
        response = await desk.client.post(f"/{release}/Subscription", json=document)
        assert response.status_code == 422, response.text
        (issue,) = response.json()["issue"]
        assert repr(name) in issue["details"]["text"]
        assert issue["expression"] == ["Subscription.extension[1].value"]


ALLOWED = {
    "r4": {
        "resourceType", "id", "meta.profile", "type", "timestamp", "entry.fullUrl", "entry.request.method",
        "entry.request.url", "entry.response.status", "entry.resource.resourceType", "entry.resource.id",
        "entry.resource.meta.profile", "entry.resource.parameter.name",
        "entry.resource.parameter.valueReference.reference", "entry.resource.parameter.valueCanonical",
        "entry.resource.parameter.valueCode", "entry.resource.parameter.valueString",
        "entry.resource.parameter.part.name", "entry.resource.parameter.part.valueString",
        "entry.resource.parameter.part.valueInstant",
        "entry.resource.parameter.part.valueReference.reference",
        "entry.resource.parameter.part.valueReference.type",
    },
    "r5": {
        "resourceType", "id", "type", "timestamp", "entry.fullUrl", "entry.request.method",
        "entry.request.url", "entry.response.status", "entry.resource.resourceType", "entry.resource.id",
        "entry.resource.status", "entry.resource.type", "entry.resource.eventsSinceSubscriptionStart",
        "entry.resource.subscription.reference", "entry.resource.topic",
        "entry.resource.notificationEvent.eventNumber", "entry.resource.notificationEvent.timestamp",
        "entry.resource.notificationEvent.focus.reference", "entry.resource.notificationEvent.focus.type",
        "entry.resource.notificationEvent.additionalContext.reference",
        "entry.resource.notificationEvent.additionalContext.type",
    },
}  # fmt: skip
ALLOWED["r4b"] = ALLOWED["r5"] | ALLOWED["r4"]


@pytest.mark.parametrize("release", RELEASES)
async def test_id_only_has_these_elements_and_no_others(desk: BrokerFixture, release: str) -> None:
    document = subscription(release, OBSERVATIONS, desk.subscriber.url("ids"), content="id-only")
    registered = await register_subscription(desk.client, f"/{release}", document)
    await desk.until_status(registered["id"], "active")
    for resource in (PERSON, READING):
        path = f"/r4/{resource['resourceType']}/{resource['id']}"
        assert (await desk.client.put(path, json=resource)).status_code == 201
    endpoint = await desk.until_numbers("ids", 1)
    body = endpoint.received[-1].body
    assert set(_paths(json.loads(body))) <= ALLOWED[release]
    assert "Observation/o1" in body.decode()
    for private in ("private", "secret-free", "vital-signs", "1950"):
        assert private not in body.decode()


def _paths(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in _paths(each, f"{path}.{name}".strip("."))]
    if isinstance(value, list):
        return [found for each in value for found in _paths(each, path)]
    return [path]
