"""The channel that writes to a FHIR server, against one in memory: what is there at the end, in which order
it came, and what becomes of refusals and failures.
"""

from dataclasses import replace
from typing import Any

import pytest

from broker.egress.http import HttpFailure, HttpResponse
from broker.model.change import Tenant
from broker.model.notification import NotificationType
from broker.model.outcome import Delivered, PartlyDelivered, Refused, Unreachable
from broker.model.release import Release
from broker.model.subscription import PayloadContent
from tests.unit.channels.fhir_write_fixture import (
    PATIENT,
    SETTINGS,
    SINGLE,
    SUBSCRIPTION,
    TARGET,
    WriteFixture,
    observation,
    writing,
)
from tests.unit.channels.simulated_fhir_server import BASE, refused

__all__ = ["writing"]


async def test_the_exchange_has_the_last_request_and_its_answer(writing: WriteFixture) -> None:
    await writing.write({"resourceType": "Observation", "id": "o1", "status": "final"})
    assert ("Accept", "application/fhir+json") in writing.exchange.headers
    assert writing.exchange.body
    assert 200 <= writing.exchange.status < 300


async def test_a_repeated_notification_changes_nothing_twice(writing: WriteFixture) -> None:
    for _ in range(2):
        assert isinstance(await writing.write(observation(1), observation(2)), Delivered)
    assert len(writing.observations) == 2


async def test_a_refused_resource_becomes_a_dead_letter_and_the_others_are_written(
    writing: WriteFixture,
) -> None:
    writing.server.refuses = lambda resource: "wrong code" if resource.get("status") == "bad" else ""
    resources = [observation(n, status="bad" if n in {2, 5} else "final") for n in range(1, 8)]
    outcome = await writing.write(*resources)
    assert isinstance(outcome, PartlyDelivered)
    assert (outcome.last, outcome.delivered, outcome.failure) == (7, 5, None)
    assert [event.number for event in outcome.refused] == [2, 5]
    assert (
        outcome.refused[0].reason
        == "the server answered 422 Unprocessable Entity: error invariant (Observation)"
    )
    assert b"wrong code" in outcome.refused[0].explanation
    assert writing.server.writes == ["1", "3", "4", "6", "7"]


async def test_a_type_that_the_target_does_not_name_is_not_written(writing: WriteFixture) -> None:
    outcome = await writing.write(PATIENT, observation(2))
    assert isinstance(outcome, PartlyDelivered)
    assert [event.number for event in outcome.refused] == [1]
    assert writing.server.writes == ["2"]


async def test_deletions_are_sent(writing: WriteFixture) -> None:
    await writing.write(observation(1), observation(2))
    assert isinstance(await writing.write(deletes=("o1",)), Delivered)
    assert [each["identifier"][0]["value"] for each in writing.observations] == ["2"]


@pytest.mark.parametrize(
    ("answer", "outcome_type"),
    [
        (HttpFailure("no-response", "silence"), Unreachable),
        (refused(429, "slow down", 7.0), Refused),
        (HttpResponse(503, 7.0, b""), Refused),
        (HttpResponse(404, None, b"<html>no such page"), Refused),
        (HttpResponse(200, None, b"<html>log in"), Refused),
        (refused(401, "who are you"), Refused),
    ],
)
async def test_a_failure_of_the_server_blames_no_resource(
    writing: WriteFixture, answer: HttpResponse | HttpFailure, outcome_type: type
) -> None:
    writing.server.answers = [None, answer]  # the first request looks the patient up
    outcome = await writing.write(observation(1), observation(2))
    assert isinstance(outcome, outcome_type)
    assert not writing.observations
    if isinstance(outcome, Refused) and isinstance(answer, HttpResponse):
        assert outcome.retry_after_s == answer.retry_after_s


async def test_after_a_failure_only_what_was_not_written_is_left() -> None:
    writing = WriteFixture(SINGLE)
    writing.server.answers = [None, None, None, refused(429, "slow down", 7.0)]
    outcome = await writing.write(*map(observation, range(1, 6)))
    assert isinstance(outcome, PartlyDelivered)
    assert (outcome.last, outcome.delivered) == (2, 2)
    assert isinstance(outcome.failure, Refused)
    assert outcome.failure.retry_after_s == 7.0


async def test_a_server_that_takes_smaller_bundles_gets_smaller_ones() -> None:
    writing = WriteFixture()
    writing.server.max_entries = 4
    for start in (0, 8):
        assert isinstance(await writing.write(*map(observation, range(start, start + 8))), Delivered)
    assert writing.bundle_sizes() == [8, 4, 4, 4, 4], "the second notification is not sent too large again"
    assert writing.server.writes == [str(n) for n in range(16)]


async def test_bundles_stay_below_the_entries_and_bytes_of_the_target() -> None:
    writing = WriteFixture(replace(TARGET, max_entries=3))
    await writing.write(*map(observation, range(7)))
    assert [path for _, path in writing.paths()][1:] == ["", "", "Observation"]
    small = WriteFixture(replace(TARGET, max_bundle_bytes=10_000))
    await small.write(*(observation(n, note=[{"text": "x" * 4_000}]) for n in range(4)))
    assert small.bundle_sizes() == [2, 2]


@pytest.mark.parametrize("kind", [NotificationType.HANDSHAKE, NotificationType.HEARTBEAT])
async def test_a_handshake_and_a_heartbeat_check_what_the_server_can_do(kind: NotificationType) -> None:
    writing = WriteFixture()
    writing.server.statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": []}
    outcome = await writing.send(kind)
    assert isinstance(outcome, Refused)
    assert not outcome.is_transient
    assert writing.paths() == [("GET", "metadata")]
    resource: dict[str, Any] = {
        "type": "Observation",
        "interaction": [{"code": "update"}, {"code": "delete"}],
    }
    resource |= {"conditionalUpdate": True, "conditionalDelete": "single"}
    rest = {"mode": "server", "interaction": [{"code": "transaction"}], "resource": [resource]}
    writing.server.statement["rest"] = [rest]
    writing = WriteFixture(replace(TARGET, lookups=(), creates=()))
    writing.server.statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}
    assert isinstance(await writing.send(kind), Delivered)


@pytest.mark.parametrize(
    ("change", "issues"),
    [
        ({}, []),
        ({"endpoint": "fhir-write:other"}, [("invalid", "endpoint")]),
        ({"endpoint": BASE}, [("invalid", "endpoint")]),
        ({"endpoint": None}, [("invalid", "endpoint")]),
        ({"content": PayloadContent.ID_ONLY}, [("not-supported", "content")]),
        ({"headers": (("Authorization", "x"),)}, [("forbidden", "parameter[0]")]),
        ({"content_type": "text/plain"}, [("not-supported", "contentType")]),
    ],
)
def test_a_subscription_names_a_target_and_nothing_else(
    change: dict[str, Any], issues: list[tuple[str, str]]
) -> None:
    found = WriteFixture().channel.check(SUBSCRIPTION.changed(channel=replace(SETTINGS, **change)))
    assert [(issue.code, issue.expression) for issue in found] == issues


async def test_a_resource_of_which_parts_were_left_out_is_not_written(writing: WriteFixture) -> None:
    partial = observation(1, meta={"tag": [{"code": "SUBSETTED"}]})
    outcome = await writing.write(partial, observation(2))
    assert isinstance(outcome, PartlyDelivered)
    assert [event.number for event in outcome.refused] == [1]
    assert writing.server.writes == ["2"]


def test_a_subscription_has_the_tenant_and_the_release_of_its_target() -> None:
    channel = WriteFixture().channel
    elsewhere, newer = SUBSCRIPTION.changed(tenant=Tenant("b")), SUBSCRIPTION.changed(release=Release.R5)
    assert [issue.code for issue in channel.check(elsewhere)] == ["invalid"]
    [issue] = channel.check(newer)
    assert (issue.code, issue.expression) == ("not-supported", "endpoint")
    assert "register the Subscription in R4" in issue.text
