"""Topics of the package that fire on a change of state: encounters that start and end, devices."""

from typing import Any

from broker.store.change_log import ChangeLog
from broker.store.protocol import Store
from tests.integration.broker_fixture import BrokerFixture, until

TOPICS = "http://fhir-broker.org/topics/"


def encounter(status: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": "stay",
        "status": status,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": "Patient/ana"},
    }


def device(status: str) -> dict[str, Any]:
    return {"resourceType": "Device", "id": "monitor", "status": status}


async def fired(
    broker_fixture: BrokerFixture, store: Store, topic: str, documents: list[dict[str, Any]]
) -> list[int]:
    """PUTs the documents in turn; those, counted from 1, that made an event."""
    subscription_id = await broker_fixture.subscribe(topic, topic=TOPICS + topic)
    change_log = ChangeLog(store)

    async def all_matched() -> bool:
        return not sum((await change_log.backlog()).values())

    counts = [0]
    for document in documents:
        response = await broker_fixture.client.put(
            f"/r4/{document['resourceType']}/{document['id']}", json=document
        )
        assert response.is_success, response.text
        await until(all_matched)
        counts.append(int((await broker_fixture.status_of(subscription_id))["eventsSinceSubscriptionStart"]))
    await broker_fixture.until_numbers(topic, counts[-1])
    return [n for n in range(1, len(counts)) if counts[n] > counts[n - 1]]


STAY = ["planned", "in-progress", "in-progress", "onleave", "in-progress", "finished", "finished"]


async def test_an_encounter_starts_once(broker_fixture: BrokerFixture, store: Store) -> None:
    assert await fired(broker_fixture, store, "encounter-start", [encounter(status) for status in STAY]) == [
        2
    ]


async def test_an_encounter_ends_once(broker_fixture: BrokerFixture, store: Store) -> None:
    assert await fired(broker_fixture, store, "encounter-end", [encounter(status) for status in STAY]) == [6]


async def test_a_device_event_is_sent_when_its_status_changes(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    statuses = ["active", "active", "inactive", "inactive", "active"]
    assert await fired(broker_fixture, store, "device-status", [device(status) for status in statuses]) == [
        1,
        3,
        5,
    ]
