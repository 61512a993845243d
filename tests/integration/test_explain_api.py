"""`$explain` and `$dry-run` as a client meets them: on a whole broker, over HTTP, in every release."""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource
from broker.testing.readings import GLUCOSE, observation
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture
from tests.integration.explain_client import ANA_HEART_RATE, explain_change
from tests.integration.operations_client import check_defined, groups, question, reading, value

AT = "2025-03-01T08:00:00Z"


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
    trigger, *_ = groups(answer, "trigger")
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
