"""Resources that a topic's notificationShape includes: resolved at the time of matching, sent as the content
level allows.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script

START = "http://fhir-broker.org/topics/encounter-start"
WARD = "http://example.org/topics/ward"
PATIENT = {"resourceType": "Patient", "id": "ana", "active": True}
ENCOUNTER = {
    "resourceType": "Encounter",
    "id": "e1",
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "subject": {"reference": "Patient/ana"},
    "serviceProvider": {"reference": "Organization/unknown"},
}
SHAPES = [
    {
        "resource": "Encounter",
        "include": ["Encounter:patient:Patient&iterate=Patient.link"],
        "revInclude": ["Observation:encounter", "Flag:encounter"],
    }
]
TOPIC = {
    "resourceType": "SubscriptionTopic",
    "id": "ward",
    "url": WARD,
    "version": "1",
    "status": "active",
    "resourceTrigger": [{"resource": "Encounter"}],
    "notificationShape": SHAPES,
}


def observation(resource_id: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/ana"},
        "encounter": {"reference": "Encounter/e1"},
    }


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[Running]:
    """A broker with a shipped topic and a topic that includes resources in both directions."""
    shipped = Path(__file__).parents[2] / "topics" / "encounter-start.json"
    (tmp_path / "encounter-start.json").write_bytes(shipped.read_bytes())
    (tmp_path / "ward.json").write_text(json.dumps(TOPIC))
    async with start_broker(topics_dir=tmp_path) as started:
        yield started


async def put(broker_fixture: BrokerFixture, resource: dict[str, Any], release: str = "r4") -> None:
    path = f"/{release}/{resource['resourceType']}/{resource['id']}"
    response = await broker_fixture.client.put(path, json=resource)
    assert response.status_code in {200, 201}, response.text


async def bundle_of(broker_fixture: BrokerFixture, name: str, events: int = 1) -> dict[str, Any]:
    endpoint = await broker_fixture.until_numbers(name, events)
    bundle: dict[str, Any] = json.loads(endpoint.received[-1].body)
    return bundle


def context_references(bundle: dict[str, Any]) -> list[str]:
    """The `Type/id`s of additionalContext, event by event, in whatever release."""
    return [reference.split("/", 3)[-1] for reference in _references(bundle["entry"][0]["resource"])]


def _references(status: dict[str, Any]) -> Iterator[str]:
    for event in status.get("notificationEvent", []):
        yield from (context["reference"] for context in event.get("additionalContext", []))
    for parameter in status.get("parameter", []):
        for part in parameter.get("part", []):
            if part["name"] == "additional-context":
                yield part["valueReference"]["reference"]


def entries(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in bundle["entry"] if f"/{kind}/" in entry["fullUrl"]]


RELEASES = pytest.mark.parametrize("release", ["r4", "r4b", "r5"])


@RELEASES
async def test_full_resource_contains_the_included_resources_as_get_entries(
    broker_fixture: BrokerFixture, release: str
) -> None:
    await broker_fixture.subscribe("a", topic=START, release=release, content="full-resource")
    await put(broker_fixture, PATIENT)
    await put(broker_fixture, ENCOUNTER)
    bundle = await bundle_of(broker_fixture, "a")
    assert context_references(bundle) == [f"{release}/Patient/ana"]
    (patient,) = entries(bundle, "Patient")
    assert patient["request"] == {"method": "GET", "url": "Patient/ana"}
    assert patient.get("response") == (None if release == "r5" else {"status": "200"})
    assert patient["resource"]["active"] is True
    assert "request" in entries(bundle, "Encounter")[0]


@RELEASES
async def test_id_only_references_the_included_resources_and_empty_does_not(
    broker_fixture: BrokerFixture, release: str
) -> None:
    await broker_fixture.subscribe("ids", topic=START, release=release, content="id-only")
    await broker_fixture.subscribe("none", topic=START, release=release, content="empty")
    await put(broker_fixture, PATIENT)
    await put(broker_fixture, ENCOUNTER)
    ids, nothing = await bundle_of(broker_fixture, "ids"), await bundle_of(broker_fixture, "none")
    assert context_references(ids) == [f"{release}/Patient/ana"]
    assert len(ids["entry"]) == len(nothing["entry"]) == 1
    assert "Patient" not in json.dumps(nothing)


async def test_resources_that_refer_to_the_focus_are_included_unless_deleted_or_changed_since(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("a", topic=WARD, release="r4", content="full-resource")
    for name in ("o1", "o2", "o3", "o4"):
        await put(broker_fixture, observation(name))
    await broker_fixture.client.delete("/r4/Observation/o2")
    await put(broker_fixture, observation("o3") | {"encounter": {"reference": "Encounter/other"}})
    await put(broker_fixture, observation("o4") | {"status": "amended"})
    await put(broker_fixture, ENCOUNTER)
    bundle = await bundle_of(broker_fixture, "a")
    # the patient isn't stored; what refers to it comes newest first
    assert context_references(bundle) == ["r4/Observation/o4", "r4/Observation/o1"]
    (newest, *_) = entries(bundle, "Observation")
    assert newest["resource"]["status"] == "amended"


async def test_a_retry_contains_the_versions_at_the_time_of_matching(
    broker_fixture: BrokerFixture,
) -> None:
    endpoint = broker_fixture.subscriber.endpoint("a")
    subscription_id = await broker_fixture.subscribe("a", topic=START, release="r5", content="full-resource")
    endpoint.answer = Script(503, 503, 503)
    await put(broker_fixture, PATIENT)
    await put(broker_fixture, ENCOUNTER)
    await broker_fixture.until_counted(subscription_id, 1)
    await put(broker_fixture, PATIENT | {"active": False})
    bundle = await bundle_of(broker_fixture, "a")
    assert entries(bundle, "Patient")[0]["resource"]["meta"]["versionId"] == "1"
    bodies = {received.body for received in endpoint.received if b"event-notification" in received.body}
    assert len(bodies) == 1


async def test_a_resource_included_by_several_events_is_in_the_bundle_once(
    broker_fixture: BrokerFixture,
) -> None:
    endpoint = broker_fixture.subscriber.endpoint("a")
    subscription_id = await broker_fixture.subscribe(
        "a", topic=WARD, release="r5", content="full-resource", max_count=10
    )
    endpoint.answer = Script(503)
    await put(broker_fixture, PATIENT)
    for number in range(3):
        await put(broker_fixture, ENCOUNTER | {"id": f"e{number}"})
    await broker_fixture.until_counted(subscription_id, 3)
    await broker_fixture.until_numbers("a", 3)
    last = [json.loads(received.body) for received in endpoint.received if b"event-n" in received.body]
    patients = [len(entries(bundle, "Patient")) for bundle in last]
    assert set(patients) == {1}
    assert sum(len(context_references(bundle)) for bundle in last if bundle is not last[0]) >= 2


async def test_the_events_operation_includes_the_resources_too(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("a", topic=START, release="r5", content="full-resource")
    await put(broker_fixture, PATIENT)
    await put(broker_fixture, ENCOUNTER)
    await broker_fixture.until_counted(subscription_id, 1)
    for content, count in (("full-resource", 3), ("id-only", 1)):
        path = f"/r4b/Subscription/{subscription_id}/$events?content={content}"
        bundle = (await broker_fixture.client.get(path)).json()
        assert context_references(bundle) == ["r4b/Patient/ana"]
        assert len(bundle["entry"]) == count


async def test_included_resources_of_a_release_without_conversion_are_entries_without_resource(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("a", topic=WARD, release="r5", content="full-resource")
    flag = {
        "resourceType": "Flag",
        "id": "f1",
        "status": "active",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/ana"},
        "encounter": {"reference": "Encounter/e1"},
    }
    await put(broker_fixture, flag)
    await put(broker_fixture, ENCOUNTER)
    bundle = await bundle_of(broker_fixture, "a")
    assert context_references(bundle) == ["r5/Flag/f1"]
    (entry,) = entries(bundle, "Flag")
    assert entry["request"] == {"method": "GET", "url": "Flag/f1"}
    assert "resource" not in entry
    (error,) = bundle["entry"][0]["resource"]["error"]
    assert "Flag/f1/_history/1 is not included: it can't be converted from R4 to R5" in error["text"]


async def test_the_size_of_included_resources_counts_toward_the_notification_limit(
    start_broker: StartBroker, settings: Any, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    (tmp_path / "ward.json").write_text(json.dumps(TOPIC))
    make: Callable[..., Any] = start_broker
    async with (
        make(topics_dir=tmp_path, max_notification=12_000) as started,
        httpx.AsyncClient(base_url=started.settings.base_url, timeout=30, trust_env=False) as client,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        endpoint = broker_fixture.subscriber.endpoint("a")
        subscription_id = await broker_fixture.subscribe(
            "a", topic=WARD, release="r4", content="full-resource", max_count=100
        )
        endpoint.answer = Script(503)
        await put(broker_fixture, PATIENT | {"name": [{"text": "x" * 5_000}]})
        for number in range(6):
            await put(broker_fixture, ENCOUNTER | {"id": f"e{number}"})
        await broker_fixture.until_counted(subscription_id, 6)
        await broker_fixture.until_numbers("a", 6)
        batches = [len(received.events) for received in endpoint.of_type("event-notification")]
        assert max(batches) <= 2
