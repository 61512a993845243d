"""What producers report by `$business-event` reaches the subscribers of topics with event triggers, and
nobody else (R-050..R-052).
"""

import asyncio
import json
from typing import Any

import httpx
import pytest

from broker.store import keys
from broker.store.protocol import Store
from broker.store.records import logged_change
from tests.integration.broker_fixture import BrokerFixture
from tests.stores import redis_of

ADMISSION = "http://fhir-broker.org/topics/admission"
START = "http://fhir-broker.org/topics/encounter-start"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0003"
ENCOUNTER = {
    "resourceType": "Encounter",
    "id": "e1",
    "status": "planned",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "subject": {"reference": "Patient/ana"},
}


def parameters_of(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def event(code: str = "A01", system: str = V2) -> dict[str, Any]:
    return {"name": "event", "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}}


def focus(reference: str = "Encounter/e1") -> dict[str, Any]:
    return {"name": "focus", "valueReference": {"reference": reference}}


async def store_encounter(broker_fixture: BrokerFixture) -> None:
    response = await broker_fixture.client.put("/r4/Encounter/e1", json=ENCOUNTER)
    assert response.status_code in {200, 201}, response.text


async def report(
    broker_fixture: BrokerFixture, *parameters: dict[str, Any], release: str = "r4", key: str | None = None
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await broker_fixture.client.post(
        f"/{release}/$business-event", json=parameters_of(*parameters), headers=headers
    )


async def test_an_admission_reported_about_a_stored_encounter_notifies_with_the_encounter_as_it_is(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("ward", topic=ADMISSION, release="r4", content="full-resource")
    await store_encounter(broker_fixture)
    answer = await report(broker_fixture, event(), focus())
    assert answer.status_code == 200, answer.text
    about = answer.json()["parameter"][0]["valueReference"]
    assert about["reference"].endswith("/r4/Encounter/e1/_history/1")
    ward = await broker_fixture.until_numbers("ward", 1)
    bundle = json.loads(ward.received[-1].body)
    status, encounter = (entry["resource"] for entry in bundle["entry"][:2])
    parts = next(item["part"] for item in status["parameter"] if item["name"] == "notification-event")
    reported = {item["name"]: item for item in parts}
    assert reported["focus"]["valueReference"]["reference"].endswith("/r4/Encounter/e1")
    assert (encounter["id"], encounter["meta"]["versionId"]) == ("e1", "1")
    assert (await broker_fixture.client.get("/r4/Encounter/e1")).json()["meta"]["versionId"] == "1"


async def test_a_report_fires_neither_resource_triggers_nor_topics_of_other_events(
    broker_fixture: BrokerFixture,
) -> None:
    stays = await broker_fixture.subscribe("stays", topic=START)
    admissions = await broker_fixture.subscribe("admissions", topic=ADMISSION)
    changed = ENCOUNTER | {"status": "in-progress"}
    assert (await broker_fixture.client.put("/r4/Encounter/e1", json=changed)).status_code == 201
    await broker_fixture.until_counted(stays, 1)
    assert (await report(broker_fixture, event("A03"), focus())).status_code == 200
    assert (
        await report(broker_fixture, event("A01", "http://example.org/other"), focus())
    ).status_code == 200
    assert (await report(broker_fixture, event(), focus())).status_code == 200
    await broker_fixture.until_counted(admissions, 1)
    assert await broker_fixture.events(stays) == [1]


async def test_any_of_several_codings_fires_and_filters_apply_to_the_stored_focus(
    broker_fixture: BrokerFixture,
) -> None:
    ana = await broker_fixture.subscribe("ana", topic=ADMISSION, filters=["patient=Patient/ana"])
    ben = await broker_fixture.subscribe("ben", topic=ADMISSION, filters=["patient=Patient/ben"])
    await store_encounter(broker_fixture)
    local = {"name": "event", "valueCoding": {"system": "http://example.org/adt", "code": "in"}}
    assert (await report(broker_fixture, local, event(), focus())).status_code == 200
    await broker_fixture.until_counted(ana, 1)
    assert await broker_fixture.events(ben) == []


async def test_a_focus_sent_with_the_report_is_stored_first(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward", topic=ADMISSION)
    answer = await report(broker_fixture, event(), {"name": "resource", "resource": ENCOUNTER}, key="k1")
    assert answer.status_code == 200, answer.text
    await broker_fixture.until_counted(subscription_id, 1)
    assert (await broker_fixture.client.get("/r4/Encounter/e1")).json()["status"] == "planned"


async def test_a_repetition_under_one_key_is_one_event_and_another_event_under_it_is_refused(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("ward", topic=ADMISSION)
    without_id = {name: value for name, value in ENCOUNTER.items() if name != "id"}
    sent = (event(), {"name": "resource", "resource": without_id})
    answers = [await report(broker_fixture, *sent, key="adt-7") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 1
    again = await report(broker_fixture, event("A03"), sent[1], key="adt-7")
    assert again.status_code == 422
    await report(broker_fixture, *sent, key="adt-8")
    await broker_fixture.until_counted(subscription_id, 2)


async def test_a_report_is_synced_to_the_log_before_it_is_acknowledged(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await store_encounter(broker_fixture)
    answers = await asyncio.gather(*(report(broker_fixture, event(), focus()) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    reported = 0
    for partition in range(store.layout.partitions):
        entries: Any = await redis_of(store).xrange(keys.changes(partition))
        reported += sum(bool(logged_change(fields).events) for _, fields in entries)
    assert reported == 20


WRONG = [
    ([focus()], "event"),
    ([event()], "focus"),
    ([event(), focus(), {"name": "resource", "resource": ENCOUNTER}], "focus"),
    ([{"name": "event", "valueString": "A01"}, focus()], "event"),
    ([{"name": "event", "valueCodeableConcept": {"text": "admitted"}}, focus()], "event"),
    ([event(), focus("Encounter/unknown")], "focus"),
    ([event(), focus("http://elsewhere.example/fhir/Encounter/e1")], "focus"),
    ([event(), focus("Subscription/s1")], "focus"),
    ([event(), {"name": "resource", "resource": {"resourceType": "Encounter"}}], "resource"),
    ([event(), focus(), {"name": "why", "valueString": "x"}], "why"),
]


@pytest.mark.parametrize(("parameters", "named"), WRONG)
async def test_an_invalid_report_is_refused_with_the_parameter(
    broker_fixture: BrokerFixture, parameters: list[dict[str, Any]], named: str
) -> None:
    answer = await report(broker_fixture, *parameters)
    assert 400 <= answer.status_code < 500, answer.text
    assert named in " ".join(issue["diagnostics"] for issue in answer.json()["issue"])


async def test_an_event_about_a_deleted_focus_is_refused(broker_fixture: BrokerFixture) -> None:
    await store_encounter(broker_fixture)
    await broker_fixture.client.delete("/r4/Encounter/e1")
    answer = await report(broker_fixture, event(), focus())
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["code"] == "deleted"


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_each_base_defines_the_operation(client: httpx.AsyncClient, release: str) -> None:
    statement = (await client.get(f"/{release}/metadata")).json()
    reported = {item["name"]: item["definition"] for item in statement["rest"][0]["operation"]}
    definition = (await client.get(reported["business-event"])).json()
    assert (definition["system"], definition["type"], definition["instance"]) == (True, False, False)
    assert {item["name"] for item in definition["parameter"] if item["use"] == "in"} == {
        "event",
        "focus",
        "resource",
    }
