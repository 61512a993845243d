"""What a notification contains is checked at each delivery against what its owner may read now."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from broker.testing.subscriber import Endpoint, Received
from tests.conftest import StartBroker
from tests.integration.broker_fixture import Gate
from tests.integration.guarded_broker import (
    ALL_OBSERVATIONS,
    NORMAL_OBSERVATIONS,
    NORMAL_PATIENTS,
    VITAL_SIGNS,
    GuardedBroker,
    bodies,
    guarded,
    observation,
    patient,
    write_topic,
)
from tests.smart_clients import auth_of, register

__all__ = ["guarded"]
Start = Callable[[str], AbstractAsyncContextManager[GuardedBroker]]


@pytest.fixture
def start(start_broker: StartBroker, guarded: GuardedBroker, tmp_path: Path) -> Start:
    topics = write_topic(tmp_path / "topics")
    return lambda scope: guarded.started(start_broker, scope, topics_dir=topics)


async def test_only_resources_that_meet_the_restrictions_are_events_or_included(start: Start) -> None:
    async with start(f"{VITAL_SIGNS} {NORMAL_PATIENTS}") as broker:
        subscription_id = await broker.subscribe("hook")
        await broker.put(patient("p1"))
        await broker.put(patient("p2", "R"))
        await broker.put(observation("o1"))
        await broker.until_counted(subscription_id, 1)  # changes of two resources have no order
        await broker.put(observation("o2", category="laboratory"))
        await broker.put(observation("o3", subject="p2"))
        endpoint = await broker.until_number("hook", 2)

        first, second = (json.loads(_carrying(endpoint, number).body) for number in (1, 2))
        assert _resources(first) == {"Observation/o1", "Patient/p1"}
        assert _resources(second) == {"Observation/o3"}
        assert "additional-context" in json.dumps(first)
        assert "additional-context" not in json.dumps(second)
        assert "o2" not in bodies(endpoint)
        assert endpoint.numbers == [1, 2]
        assert await broker.errors(subscription_id) == ""  # no error names what was left out


async def test_what_is_moved_out_of_sight_while_it_waits_is_withheld_and_its_number_is_a_gap(
    start: Start,
) -> None:
    async with start(f"{NORMAL_OBSERVATIONS} system/Patient.r") as broker:
        gate = Gate()
        subscription_id = await broker.subscribe("hook", max_count=5)
        stream_id = await broker.subscribe("pull", "websocket", max_count=5)
        broker.subscriber.endpoint("hook").answer = gate
        await broker.put(observation("first"))
        await gate.until_entered()
        for number, name in enumerate(("before", "secret", "after"), start=2):
            await broker.put(observation(name))
            for each in (subscription_id, stream_id):
                await broker.until_counted(each, number)
        await broker.put(observation("secret", level="R"))  # neither an event nor its removal
        assert (await broker.lab.delete("/r4/Observation/secret")).status_code in {200, 204}
        await broker.put(observation("last"))
        for each in (subscription_id, stream_id):
            await broker.until_counted(each, 5)
        gate.opened.set()
        endpoint = await broker.until_number("hook", 5)

        assert endpoint.numbers == [1, 2, 4, 5]
        assert "secret" not in bodies(endpoint)
        for notification in endpoint.of_type("event-notification"):
            numbers = [event.number for event in notification.events]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert (await broker.status_of(subscription_id))["status"] == "active"
        assert "event 3 is missing" in await broker.errors(subscription_id)

        response = await broker.ward.get(f"/r4/Subscription/{subscription_id}/$events?eventsSinceNumber=1")
        assert "secret" not in response.text
        assert "event 3 is missing" in response.text
        streamed = await broker.stream(stream_id, last=5)
        assert "secret" not in streamed
        assert re.findall("^id: ([0-9]+)$", streamed, re.MULTILINE) == ["2", "5"]
        assert "event 3 is missing" in await broker.errors(stream_id)


async def test_deleted_resources_are_told_to_those_who_could_see_them(start: Start) -> None:
    async with start(f"{NORMAL_OBSERVATIONS} system/Patient.r") as broker:
        subscription_id = await broker.subscribe("hook")
        await broker.put(observation("hidden", level="R"))
        await broker.put(observation("seen"))
        for resource_id in ("hidden", "seen"):
            await broker.lab.delete(f"/r4/Observation/{resource_id}")
        await broker.until_counted(subscription_id, 2)
        await broker.put(observation("last"))
        endpoint = await broker.until_number("hook", 3)
        assert endpoint.numbers == [1, 2, 3]
        assert "hidden" not in bodies(endpoint)
        assert "DELETE" in _carrying(endpoint, 2).body.decode()


async def test_an_administrator_sees_events_of_others_as_far_as_its_own_scopes_allow(
    start: Start, guarded: GuardedBroker
) -> None:
    scope = "system/Subscription.rs"
    register(guarded.clients_dir, "desk", scope, roles=["admin"])
    async with start(ALL_OBSERVATIONS) as broker:
        subscription_id = await broker.subscribe("hook")
        await broker.put(observation("o1"))
        await broker.until_number("hook", 1)
        events = f"/r4/Subscription/{subscription_id}/$events"
        assert "Observation/o1" in (await broker.lab.get(events)).text

        base_url = str(broker.lab.base_url).rstrip("/")
        response = await broker.lab.get(events, auth=auth_of(base_url, "desk", scope))
        assert response.status_code == 200
        assert "Observation/o1" not in response.text
        assert "event 1 is not shown" in response.text


async def test_a_restricted_scope_does_not_allow_a_filter_on_what_it_may_hide(start: Start) -> None:
    async with start(f"{VITAL_SIGNS} {NORMAL_PATIENTS}") as broker:
        filters = ["Observation?patient.active=true"]
        chained = broker.document("hook", content="id-only", filters=filters)
        response = await broker.ward.post("/r4/Subscription", json=chained)
        assert response.status_code == 403, response.text
        assert "lacks system/Patient.r." in response.text

        await broker.put(observation("o1"))
        await broker.put(observation("o2", category="laboratory"))
        parameters = {
            "resourceType": "Parameters",
            "parameter": [{"name": "subscription", "resource": broker.document("hook")}],
        }
        dry_run = await broker.ward.post("/r4/Subscription/$dry-run", json=parameters)
        assert dry_run.status_code == 200, dry_run.text
        assert "Observation/o1" in dry_run.text
        assert "Observation/o2" not in dry_run.text


def _carrying(endpoint: Endpoint, number: int) -> Received:
    """The first request with the event."""
    return next(
        request
        for request in endpoint.received
        if request.notification and number in [event.number for event in request.notification.events]
    )


def _resources(bundle: dict[str, Any]) -> set[str]:
    found = set()
    for entry in bundle["entry"][1:]:
        resource = entry["resource"]
        found.add(f"{resource['resourceType']}/{resource['id']}")
    return found
