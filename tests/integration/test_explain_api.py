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


@pytest.fixture
async def broker_fixture(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> BrokerFixture:
    return BrokerFixture(client, subscriber)


async def asked(
    client: httpx.AsyncClient, one: str, release: str = "r4", status: int = 200, **given: Any
) -> dict[str, Any]:
    response = await client.post(f"/{release}/Subscription/{one}/$explain", json=question(**given))
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def names(parts: list[dict[str, Any]]) -> set[str]:
    return {part["name"] for part in parts}


async def test_a_resource_that_would_be_notified(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    answer = await asked(broker_fixture.client, one, resource=reading())
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


async def test_the_first_filter_that_fails_is_told_with_what_was_found(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    answer = await asked(broker_fixture.client, one, resource=reading("ben"))
    assert value(answer, "verdict") is False
    assert "the filter patient=Patient/ana does not pass: found Patient/ben" in value(answer, "reason")
    patient, code = groups(answer, "filter")
    assert (value(patient, "outcome"), value(patient, "wanted")) == ("failed", "Patient/ana")
    assert (value(patient, "found"), value(code, "outcome")) == ("Patient/ben", "passed")


async def test_a_topic_that_does_not_fire_tells_its_criteria(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward")
    answer = await asked(broker_fixture.client, one, resource=observation(GLUCOSE, "ana", AT, 90))
    assert value(answer, "verdict") is False
    assert "does not fire" in value(answer, "reason")
    assert "laboratory" in value(answer, "reason")
    patient = {"resourceType": "Patient", "active": True}
    other = await asked(broker_fixture.client, one, resource=patient)
    assert "resource trigger[0] is about Observation" in value(other, "reason")
    deleted = await asked(broker_fixture.client, one, resource=reading(), interaction="delete")
    assert "is about create and update only" in value(deleted, "reason")


@pytest.mark.parametrize("release", [one.value for one in Release])
async def test_answers_are_valid_parameters_of_each_release_and_say_only_what_is_defined(
    broker_fixture: BrokerFixture, release: str
) -> None:
    one = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE, release=release)
    [made] = await broker_fixture.send(1)
    await broker_fixture.until_counted(one, 1)
    answers = [
        await asked(broker_fixture.client, one, release, resource=reading()),
        await asked(broker_fixture.client, one, release, reference=f"Observation/{made}"),
    ]
    for answer in answers:
        validate(Release(release), "Parameters", json.dumps(answer).encode())
        check_defined("explain", answer)
    document = broker_fixture.document("ward", release=release)
    response = await broker_fixture.client.post(
        f"/{release}/Subscription/$dry-run", json=question(subscription=document)
    )
    assert response.status_code == 200, response.text
    validate(Release(release), "Parameters", response.content)
    check_defined("dry-run", response.json())


def check_defined(code: str, answer: dict[str, Any]) -> None:
    """Every name in the answer is one the OperationDefinition lists, as often as that allows."""
    operation = next(one for one in OPERATIONS if one.code == code)
    waiting: list[tuple[Any, list[dict[str, Any]]]] = [
        ([one for one in operation.parameters if one.use == "out"], answer["parameter"])
    ]
    while waiting:
        defined, parts = waiting.pop()
        assert names(parts) <= {one.name for one in defined}
        for one in defined:
            given = [part for part in parts if part["name"] == one.name]
            assert len(given) >= one.min, one.name
            assert one.max == "*" or len(given) <= int(one.max), one.name
            for part in given:
                if one.parts:
                    waiting.append((one.parts, part["part"]))
                else:
                    assert f"value{one.type[0].upper()}{one.type[1:]}" in part


async def test_what_is_stored_counts_as_the_state_before(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward")
    [made] = await broker_fixture.send(1)
    answer = await asked(broker_fixture.client, one, resource=reading(id=made))
    [change] = groups(answer, "change")
    assert (value(change, "interaction"), value(change, "previous")) == ("update", True)
    assert value(change, "focus") == f"Observation/{made}/_history/2"
    answer = await asked(broker_fixture.client, one, resource=reading(), previous=reading("ben"))
    assert value(groups(answer, "change")[0], "interaction") == "update"
    answer = await asked(broker_fixture.client, one, resource=reading(id=made), interaction="create")
    assert value(groups(answer, "change")[0], "previous") is False


async def test_a_stored_change_tells_its_number_and_that_it_was_delivered(
    broker_fixture: BrokerFixture,
) -> None:
    one = await broker_fixture.subscribe("ward")
    first, second = await broker_fixture.send(2)
    await broker_fixture.until_numbers("ward", 2)
    await until(lambda: delivered(broker_fixture.client, one, first))
    answer = await asked(broker_fixture.client, one, reference=f"Observation/{second}/_history/1")
    [delivery] = groups(answer, "delivery")
    assert value(delivery, "event-number") == "2"
    assert value(delivery, "waiting-to-be-matched") is False
    absolute = await asked(
        broker_fixture.client,
        one,
        reference=f"{broker_fixture.client.base_url}/r4/Observation/{first}".replace("//r4", "/r4"),
    )
    assert value(groups(absolute, "delivery")[0], "event-number") == "1"


async def delivered(client: httpx.AsyncClient, one: str, reading_id: str) -> bool:
    answer = await asked(client, one, reference=f"Observation/{reading_id}")
    [delivery] = groups(answer, "delivery")
    return bool(value(delivery, "state") == "delivered")


async def test_a_failing_delivery_tells_attempts_error_and_the_next_time(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    slow = timedelta(minutes=5)
    async with (
        start_broker(retry_base=slow, retry_max=slow, retry_budget=timedelta(hours=1)) as running,
        client_of(running) as client,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        one = await broker_fixture.subscribe("ward")
        subscriber.endpoint("ward").answer = Script(*[503] * 50)
        [made] = await broker_fixture.send(1)

        async def failed() -> bool:
            answer = await asked(client, one, reference=f"Observation/{made}")
            found = groups(answer, "delivery")[0]
            return value(found, "next-attempt") is not None

        await until(failed)
        answer = await asked(client, one, reference=f"Observation/{made}")
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


async def test_a_change_that_no_matcher_had_yet_is_waiting(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker() as running, client_of(running) as client:
        one = await BrokerFixture(client, subscriber).subscribe("ward")
    async with start_broker(frozenset({Role.API})) as running, client_of(running) as client:
        [made] = await BrokerFixture(client, subscriber).send(1)
        answer = await asked(client, one, reference=f"Observation/{made}")
        [delivery] = groups(answer, "delivery")
        assert value(delivery, "waiting-to-be-matched") is True
        assert value(delivery, "numbered") is False
        assert value(answer, "verdict") is True
        assert "waiting to be matched" in value(answer, "reason")


async def test_a_change_from_before_the_filters_fit_got_no_number(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    [other] = await broker_fixture.send(1, patient="ben")
    await broker_fixture.send(1)
    await broker_fixture.until_counted(one, 1)

    async def matched() -> bool:
        found = await asked(broker_fixture.client, one, reference=f"Observation/{other}")
        return value(groups(found, "delivery")[0], "waiting-to-be-matched") is False

    await until(matched)
    answer = await asked(broker_fixture.client, one, reference=f"Observation/{other}")
    assert value(groups(answer, "delivery")[0], "numbered") is False
    assert value(answer, "verdict") is False
    assert value(answer, "reason").endswith("It got no event number.")


async def test_a_subscription_that_is_off_would_not_be_notified(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward")
    document = (await broker_fixture.client.get(f"/r5/Subscription/{one}")).json()
    response = await broker_fixture.client.put(f"/r5/Subscription/{one}", json=document | {"status": "off"})
    assert response.status_code == 200, response.text
    answer = await asked(broker_fixture.client, one, resource=reading())
    assert value(answer, "verdict") is False
    assert "But the subscription is off: it counts no events." in value(answer, "reason")
    assert value(groups(answer, "subscription")[0], "counting") is False


async def test_chained_filters_see_what_is_stored(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward", filters=["patient.gender=female"])
    answer = await asked(broker_fixture.client, one, resource=reading())
    assert value(groups(answer, "filter")[0], "found") == "Patient/ana: not stored"
    patient = {"resourceType": "Patient", "id": "ana", "gender": "female"}
    assert (await broker_fixture.client.put("/r4/Patient/ana", json=patient)).status_code == 201
    answer = await asked(broker_fixture.client, one, resource=reading())
    assert value(answer, "verdict") is True
    assert value(groups(answer, "filter")[0], "found") == "Patient/ana: female"


@pytest.mark.parametrize(
    ("given", "status", "says"),
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
async def test_what_cannot_be_explained_is_refused_with_the_reason(
    broker_fixture: BrokerFixture, given: Mapping[str, Any], status: int, says: str
) -> None:
    one = await broker_fixture.subscribe("ward")
    outcome = await asked(broker_fixture.client, one, status=status, **given)
    assert outcome["resourceType"] == "OperationOutcome"
    assert says in " ".join(issue["diagnostics"] for issue in outcome["issue"])


async def test_an_unknown_subscription_is_not_found_and_only_post_explains(client: httpx.AsyncClient) -> None:
    await asked(client, "nobody", status=404, resource=reading())
    assert (await client.get("/r4/Subscription/nobody/$explain")).status_code == 405


async def test_explaining_leaves_nothing_behind(broker_fixture: BrokerFixture) -> None:
    one = await broker_fixture.subscribe("ward")
    await asyncio.gather(
        *(asked(broker_fixture.client, one, resource=reading(id="imagined")) for _ in range(5))
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
    found = [change async for change in change_log.newest(mine, 10)]
    assert len(found) == 10
    assert {change.current.key.tenant for change in found} == {mine}
    places = [tuple(int(part) for part in change.id.split("-")) for change in found]
    assert places == sorted(places, reverse=True)
    assert all(change.current.body for change in found)
    assert all([await change_log.is_unmatched(change.current) for change in found])
    client = store.group_reader(timeout_s=10)
    taken = await changes.read(client, dict.fromkeys(range(4), ">"), count=100, block_ms=None)
    assert all([await change_log.is_unmatched(change.current) for change in found])
    await changes.acknowledge({p: [one.id for one in taken if one.partition == p] for p in range(4)})
    assert not any([await change_log.is_unmatched(change.current) for change in found])
    await client.close()
