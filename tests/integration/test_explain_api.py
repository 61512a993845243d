"""`$explain` and `$dry-run` as a client meets them: on a whole broker, over HTTP, in every release."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.app import Role, Running
from broker.fhir.operation_definitions import OPERATIONS
from broker.fhir.validation import validate
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.testing.readings import GLUCOSE, LOINC, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, Script, until
from tests.integration.operations_client import groups, question, reading, value

AT = "2025-03-01T08:00:00Z"
ANA_HEART_RATE = ("patient=Patient/ana", f"code={LOINC}|8867-4")


async def explain_change(
    client: httpx.AsyncClient, subscription_id: str, release: str = "r4", status: int = 200, **parameters: Any
) -> dict[str, Any]:
    response = await client.post(
        f"/{release}/Subscription/{subscription_id}/$explain", json=question(**parameters)
    )
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def names(parts: list[dict[str, Any]]) -> set[str]:
    return {part["name"] for part in parts}


async def test_a_resource_that_would_be_notified(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading())
    assert value(answer, "verdict") is True
    assert "passes all 2 filters" in value(answer, "reason")
    assert value(answer, "topic").startswith(VITAL_SIGNS)
    [subscription] = groups(answer, "subscription")
    assert value(subscription, "status") == "active"
    assert value(subscription, "counting") is True
    assert re.match(r"\d{4}-", value(subscription, "counting-since"))
    [change] = groups(answer, "change")
    assert (value(change, "interaction"), value(change, "stored")) == ("create", False)
    [trigger] = groups(answer, "trigger")
    [current] = groups(trigger, "current")
    [term] = groups(current, "term")
    assert value(term, "parameter") == "category"
    assert value(term, "found").endswith("|vital-signs")
    assert [value(each, "outcome") for each in groups(answer, "filter")] == ["passed", "passed"]
    [authorization] = groups(answer, "authorization")
    assert value(authorization, "tenant") == "default"
    assert groups(answer, "delivery") == []


async def test_the_first_failed_filter_is_reported_with_the_value_in_the_resource(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading("ben"))
    assert value(answer, "verdict") is False
    assert "the filter patient=Patient/ana does not pass: found Patient/ben" in value(answer, "reason")
    patient, code = groups(answer, "filter")
    assert (value(patient, "outcome"), value(patient, "wanted")) == ("failed", "Patient/ana")
    assert (value(patient, "found"), value(code, "outcome")) == ("Patient/ben", "passed")


async def test_the_criteria_of_a_topic_that_does_not_fire_are_reported(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    answer = await explain_change(
        broker_fixture.client, subscription_id, resource=observation(GLUCOSE, "ana", AT, 90)
    )
    assert value(answer, "verdict") is False
    assert "does not fire" in value(answer, "reason")
    assert "laboratory" in value(answer, "reason")
    patient = {"resourceType": "Patient", "active": True}
    other = await explain_change(broker_fixture.client, subscription_id, resource=patient)
    assert "resource trigger[0] is about Observation" in value(other, "reason")
    deleted = await explain_change(
        broker_fixture.client, subscription_id, resource=reading(), interaction="delete"
    )
    assert "is about create and update only" in value(deleted, "reason")


@pytest.mark.parametrize("release", [item.value for item in Release])
async def test_answers_are_valid_parameters_of_each_release_with_defined_parts_only(
    broker_fixture: BrokerFixture, release: str
) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE, release=release)
    [made] = await broker_fixture.send(1)
    await broker_fixture.until_counted(subscription_id, 1)
    answers = [
        await explain_change(broker_fixture.client, subscription_id, release, resource=reading()),
        await explain_change(
            broker_fixture.client, subscription_id, release, reference=f"Observation/{made}"
        ),
    ]
    for answer in answers:
        validate(Release(release), "Parameters", Resource(json.dumps(answer).encode()))
        check_defined("explain", answer)
    document = broker_fixture.document("ward", release=release)
    response = await broker_fixture.client.post(
        f"/{release}/Subscription/$dry-run", json=question(subscription=document)
    )
    assert response.status_code == 200, response.text
    validate(Release(release), "Parameters", Resource(response.content))
    check_defined("dry-run", response.json())


def check_defined(code: str, answer: dict[str, Any]) -> None:
    """Every name in the answer is one the OperationDefinition lists, as often as that allows."""
    operation = next(item for item in OPERATIONS if item.code == code)
    waiting: list[tuple[Any, list[dict[str, Any]]]] = [
        ([item for item in operation.parameters if item.use == "out"], answer["parameter"])
    ]
    while waiting:
        defined, parts = waiting.pop()
        assert names(parts) <= {item.name for item in defined}
        for item in defined:
            parameters = [part for part in parts if part["name"] == item.name]
            assert len(parameters) >= item.min, item.name
            assert item.max == "*" or len(parameters) <= int(item.max), item.name
            for part in parameters:
                if item.parts:
                    waiting.append((item.parts, part["part"]))
                else:
                    assert f"value{item.type[0].upper()}{item.type[1:]}" in part


async def test_the_stored_resource_is_the_previous_state(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    [made] = await broker_fixture.send(1)
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading(id=made))
    [change] = groups(answer, "change")
    assert (value(change, "interaction"), value(change, "previous")) == ("update", True)
    assert value(change, "focus") == f"Observation/{made}/_history/2"
    answer = await explain_change(
        broker_fixture.client, subscription_id, resource=reading(), previous=reading("ben")
    )
    assert value(groups(answer, "change")[0], "interaction") == "update"
    answer = await explain_change(
        broker_fixture.client, subscription_id, resource=reading(id=made), interaction="create"
    )
    assert value(groups(answer, "change")[0], "previous") is False


async def test_a_stored_change_has_its_event_number_and_delivery_state(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    first, second = await broker_fixture.send(2)
    await broker_fixture.until_numbers("ward", 2)
    await until(lambda: delivered(broker_fixture.client, subscription_id, first))
    answer = await explain_change(
        broker_fixture.client, subscription_id, reference=f"Observation/{second}/_history/1"
    )
    [delivery] = groups(answer, "delivery")
    assert value(delivery, "event-number") == "2"
    assert value(delivery, "waiting-to-be-matched") is False
    absolute = await explain_change(
        broker_fixture.client,
        subscription_id,
        reference=f"{broker_fixture.client.base_url}/r4/Observation/{first}".replace("//r4", "/r4"),
    )
    assert value(groups(absolute, "delivery")[0], "event-number") == "1"


async def delivered(client: httpx.AsyncClient, subscription_id: str, reading_id: str) -> bool:
    answer = await explain_change(client, subscription_id, reference=f"Observation/{reading_id}")
    [delivery] = groups(answer, "delivery")
    return bool(value(delivery, "state") == "delivered")


async def test_a_failing_delivery_reports_attempts_error_and_next_attempt(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    slow = timedelta(minutes=5)
    async with (
        start_broker(retry_base=slow, retry_max=slow, retry_budget=timedelta(hours=1)) as running,
        client_of(running) as client,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        subscription_id = await broker_fixture.subscribe("ward")
        subscriber.endpoint("ward").answer = Script(*[503] * 50)
        [made] = await broker_fixture.send(1)

        async def failed() -> bool:
            answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
            results = groups(answer, "delivery")[0]
            return value(results, "next-attempt") is not None

        await until(failed)
        answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
        [delivery] = groups(answer, "delivery")
        assert value(delivery, "state") == "waiting"
        assert value(delivery, "attempts") == 1
        assert "503" in value(delivery, "error")
        assert "It is event 1, waiting to be delivered." in value(answer, "reason")


@contextlib.asynccontextmanager
async def client_of(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=running.settings.base_url, headers=headers, timeout=10, trust_env=False
    ) as client:
        yield client


async def test_a_change_that_no_matcher_has_read_is_waiting_to_be_matched(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker() as running, client_of(running) as client:
        subscription_id = await BrokerFixture(client, subscriber).subscribe("ward")
    async with start_broker(frozenset({Role.API})) as running, client_of(running) as client:
        [made] = await BrokerFixture(client, subscriber).send(1)
        answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
        [delivery] = groups(answer, "delivery")
        assert value(delivery, "waiting-to-be-matched") is True
        assert value(delivery, "numbered") is False
        assert value(answer, "verdict") is True
        assert "waiting to be matched" in value(answer, "reason")


async def test_a_change_from_before_the_filters_fit_got_no_number(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    [other] = await broker_fixture.send(1, patient="ben")
    await broker_fixture.send(1)
    await broker_fixture.until_counted(subscription_id, 1)

    async def matched() -> bool:
        results = await explain_change(
            broker_fixture.client, subscription_id, reference=f"Observation/{other}"
        )
        return value(groups(results, "delivery")[0], "waiting-to-be-matched") is False

    await until(matched)
    answer = await explain_change(broker_fixture.client, subscription_id, reference=f"Observation/{other}")
    assert value(groups(answer, "delivery")[0], "numbered") is False
    assert value(answer, "verdict") is False
    assert value(answer, "reason").endswith("It got no event number.")


async def test_a_subscription_that_is_off_would_not_be_notified(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    document = (await broker_fixture.client.get(f"/r5/Subscription/{subscription_id}")).json()
    response = await broker_fixture.client.put(
        f"/r5/Subscription/{subscription_id}", json=document | {"status": "off"}
    )
    assert response.status_code == 200, response.text
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading())
    assert value(answer, "verdict") is False
    assert "But the subscription is off: it counts no events." in value(answer, "reason")
    assert value(groups(answer, "subscription")[0], "counting") is False


async def test_chained_filters_see_what_is_stored(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=["patient.gender=female"])
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading())
    assert value(groups(answer, "filter")[0], "found") == "Patient/ana: not stored"
    patient = {"resourceType": "Patient", "id": "ana", "gender": "female"}
    assert (await broker_fixture.client.put("/r4/Patient/ana", json=patient)).status_code == 201
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading())
    assert value(answer, "verdict") is True
    assert value(groups(answer, "filter")[0], "found") == "Patient/ana: female"


@pytest.mark.parametrize(
    ("parameters", "status", "expected_text"),
    [
        ({}, 400, "either a resource, or a reference"),
        ({"resource": {"resourceType": "Observation"}, "reference": "Observation/1"}, 400, "either"),
        ({"reference": "Observation"}, 400, "Send Type/id"),
        ({"reference": "Observation/nobody"}, 404, "not stored here"),
        ({"reference": "Observation/1", "interaction": "create"}, 400, "has its own interaction"),
        ({"resource": {"resourceType": "Observation"}}, 422, "code is required"),
        ({"resource": {"resourceType": "Nonsense"}}, 422, "is not a resource type"),
        ({"resource": "text"}, 400, "takes a resource"),
        ({"resource": {"resourceType": "Patient"}, "interaction": "read"}, 400, "create, update, delete"),
        ({"resource": {"resourceType": "Patient"}, "colour": "red"}, 400, "is not supported"),
        (
            {
                "resource": {"resourceType": "Patient"},
                "previous": {"resourceType": "Patient"},
                "interaction": "create",
            },
            400,
            "no previous state",
        ),
        (
            {
                "resource": {"resourceType": "Patient"},
                "previous": {"resourceType": "Patient"},
                "interaction": "delete",
            },
            400,
            "the state it deletes",
        ),
        (
            {"resource": {"resourceType": "Patient"}, "previous": {"resourceType": "Device"}},
            422,
            "resourceType",
        ),
    ],
)
async def test_an_invalid_explain_request_is_refused_with_the_reason(
    broker_fixture: BrokerFixture, parameters: Mapping[str, Any], status: int, expected_text: str
) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    outcome = await explain_change(broker_fixture.client, subscription_id, status=status, **parameters)
    assert outcome["resourceType"] == "OperationOutcome"
    assert expected_text in " ".join(issue["diagnostics"] for issue in outcome["issue"])


async def test_an_unknown_subscription_is_not_found_and_only_post_explains(client: httpx.AsyncClient) -> None:
    await explain_change(client, "nobody", status=404, resource=reading())
    assert (await client.get("/r4/Subscription/nobody/$explain")).status_code == 405


async def test_explain_writes_nothing(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    await asyncio.gather(
        *(
            explain_change(broker_fixture.client, subscription_id, resource=reading(id="imagined"))
            for _ in range(5)
        )
    )
    assert (await broker_fixture.client.get("/r4/Observation/imagined")).status_code == 404
    [made] = await broker_fixture.send(1)
    await broker_fixture.until_numbers("ward", 1)
    document = broker_fixture.document("ward")
    response = await broker_fixture.client.post(
        "/r5/Subscription/$dry-run", json=question(subscription=document)
    )
    assert [value(each, "reference") for each in groups(response.json(), "match")] == [
        f"Observation/{made}/_history/1"
    ]


async def test_the_newest_changes_are_a_tenants_own_in_the_order_of_the_log(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    await changes.prepare()
    change_log = ChangeLog(store)
    mine, other = Tenant("mine"), Tenant("other")
    for n in range(12):
        await changes.append(
            [
                Proposal(tenant, "put", "Basic", f"b{n}", Release.R4, b'{"meta":{', b"}}")
                for tenant in (mine, other)
            ]
        )
    results = [change async for change in change_log.newest(mine, 10)]
    assert len(results) == 10
    assert {change.current.key.tenant for change in results} == {mine}
    places = [tuple(int(part) for part in change.id.split("-")) for change in results]
    assert places == sorted(places, reverse=True)
    assert all(change.current.resource for change in results)
    assert all([await change_log.is_unmatched(change.current) for change in results])
    client = store.group_reader(timeout_s=10)
    taken = await changes.read(client, dict.fromkeys(range(4), ">"), count=100, block_ms=None)
    assert all([await change_log.is_unmatched(change.current) for change in results])
    await changes.acknowledge({p: [item.id for item in taken if item.partition == p] for p in range(4)})
    assert not any([await change_log.is_unmatched(change.current) for change in results])
    await client.close()
