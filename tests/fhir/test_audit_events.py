"""AuditEvents of every act are valid in every release, and name what the entry names."""

from typing import Any

import orjson
import pytest

from broker.fhir.audit_events import CODES, render_audit_event
from broker.fhir.release import adapter
from broker.model.audit import (
    BROKER_AGENT,
    AuditAction,
    AuditEntity,
    AuditEntry,
    AuditOutcome,
    ChainedEntry,
)
from broker.model.release import Release

PATIENT = AuditEntity("Patient", "ana", 2)
READING = AuditEntity("Observation", "o1", 7, "Patient/ana")
OTHER = AuditEntity("Observation", "o2", 1, "Patient/bob")


def rendered(release: Release, entry: AuditEntry) -> dict[str, Any]:
    resource = render_audit_event(release, ChainedEntry(17, 1_772_000_000_123, entry))
    adapter(release).validate("AuditEvent", resource)
    document: dict[str, Any] = orjson.loads(resource.text)
    return document


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("action", AuditAction)
def test_every_act_has_codes_and_is_valid(action: AuditAction, release: Release) -> None:
    assert set(CODES) == set(AuditAction)
    for outcome in AuditOutcome:
        for address in ("", "10.0.0.7", "::1", "gateway.example", "https://receiver.example:8443"):
            for entities in ((), (PATIENT,), (READING,), (READING, OTHER)):
                entry = AuditEntry(action, outcome, "ward", address, "some detail", entities)
                document = rendered(release, entry)
                assert (document["id"], document["recorded"]) == ("17", "2026-02-25T06:13:20.123Z")
                assert document["action"] == CODES[action].letter
    broker = rendered(release, AuditEntry(action))
    assert broker["agent"][0]["requestor"] is False
    assert broker["agent"][0]["who"]["identifier"]["value"] == BROKER_AGENT


def test_entities_and_their_patients_are_named_once_with_the_role_of_a_patient() -> None:
    entry = AuditEntry(AuditAction.READ, agent="ward", entities=(READING, PATIENT, OTHER))
    document = rendered(Release.R4, entry)
    assert [(each["what"]["reference"], "role" in each) for each in document["entity"]] == [
        ("Observation/o1/_history/7", False),
        ("Patient/ana/_history/2", True),
        ("Observation/o2/_history/1", False),
        ("Patient/bob", True),
    ]


def test_r5_names_the_patient_where_there_is_one() -> None:
    entry = AuditEntry(AuditAction.READ, agent="ward", entities=(READING,))
    assert rendered(Release.R5, entry)["patient"] == {"reference": "Patient/ana"}
    assert "patient" not in rendered(Release.R5, entry._replace(entities=(READING, OTHER)))


def test_the_network_of_an_agent_says_what_its_address_is() -> None:
    kinds = {}
    for address in ("10.0.0.7", "gateway.example", "https://receiver.example"):
        entry = AuditEntry(AuditAction.DELIVER, agent="ward", address=address)
        kinds[address] = rendered(Release.R4, entry)["agent"][0]["network"]["type"]
    assert kinds == {"10.0.0.7": "2", "gateway.example": "1", "https://receiver.example": "5"}
    uri = rendered(Release.R5, AuditEntry(AuditAction.DELIVER, agent="ward", address="https://r.example"))
    assert uri["agent"][0]["networkUri"] == "https://r.example"
