"""What of a patient's record concerns a device."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError
from broker.fhir.device_context import (
    ACTIVE_PATIENT,
    CONTEXT_ELEMENTS,
    context_elements,
    context_references,
    is_in_force,
)
from broker.fhir.payload_elements import element_limits
from broker.fhir.topics import parse_topic
from broker.model.resource import Resource

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
TOPICS = Path(__file__).parents[3] / "topics"


def resource(**members: Any) -> Resource:
    return Resource(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("members", "patient"),
    [
        ({"status": "active", "subject": {"reference": "Patient/p"}}, "Patient/p"),
        ({"subject": {"reference": "Patient/p/_history/3"}}, "Patient/p"),
        ({"status": "inactive", "subject": {"reference": "Patient/p"}}, ""),
        ({"status": "active", "subject": {"reference": "Group/g"}}, ""),
        ({"status": "active", "subject": {"identifier": {"value": "7"}}}, ""),
        ({"status": "active"}, ""),
    ],
)
def test_what_is_active_is_found_by_its_patient(members: dict[str, Any], patient: str) -> None:
    expected = ((ACTIVE_PATIENT, patient),) if patient else ()
    for name in ("CareTeam", "MedicationRequest"):
        assert context_references(name, resource(resourceType=name, **members)) == expected
    assert context_references("CarePlan", resource(resourceType="CarePlan", **members)) == ()


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (None, True),
        ({}, True),
        ({"start": "2025-03-01"}, True),
        ({"start": "2025-03-02"}, False),
        ({"end": "2025-03-01"}, True),
        ({"end": "2025-02"}, False),
        ({"start": "2024", "end": "2026"}, True),
    ],
)
def test_a_period_that_has_ended_or_not_begun_is_not_in_force(
    period: dict[str, str] | None, expected: bool
) -> None:
    team = {"resourceType": "CareTeam"} | ({} if period is None else {"period": period})
    assert is_in_force(resource(**team), NOW) is expected


def test_elements_of_the_setting_replace_the_others_and_must_exist() -> None:
    assert context_elements(()) == CONTEXT_ELEMENTS
    assert context_elements(["Patient.name"]) == ("Patient.name",)
    with pytest.raises(ConfigurationError, match=r"Patient\.nmae"):
        context_elements(["Patient.name", "Patient.nmae"])


def test_by_default_the_elements_are_those_of_the_topics_that_ship() -> None:
    topics = [parse_topic(Resource(path.read_bytes())) for path in TOPICS.glob("*.json")]
    for name in ("Patient", "CareTeam", "MedicationRequest"):
        (limited,) = [topic for topic in topics if topic.elements and topic.focus_types == {name}]
        shipped, shown = element_limits((), limited.elements), element_limits((), CONTEXT_ELEMENTS)
        assert shown[name] == shipped[name]
