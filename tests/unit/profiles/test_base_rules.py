"""What the definition of a type says holds for its resources without any profile."""

from typing import Any

import pytest

from broker.model.release import Release
from tests.unit.profiles.catalogs import issues_of
from tests.unit.profiles.examples import Json

_CONDITION = {"resourceType": "Condition", "subject": {"reference": "Patient/p"}}
_STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def refused(fields: Json, release: Release = Release.R4) -> list[str | None]:
    return [each.expression for each in issues_of(fields, release=release) if each.severity == "error"]


def _bundle(*urls: str) -> Json:
    patient = {"resourceType": "Patient", "name": [{"family": "Lopez"}]}
    entries = [{"fullUrl": url, "resource": patient} for url in urls]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"resourceType": "MessageHeader", "response": {"code": "fine"}}, "MessageHeader.response.code"),
        ({"resourceType": "Patient", "contact": [{"gender": "female"}]}, "Patient.contact[0]"),
        (
            {"resourceType": "Patient", "generalPractitioner": [{"reference": "Patient/q"}]},
            "Patient.generalPractitioner[0]",
        ),
        (
            _CONDITION | {"clinicalStatus": {"coding": [{"system": _STATUS, "code": "gone"}]}},
            "Condition.clinicalStatus",
        ),
        (
            {"resourceType": "Medication", "ingredient": [{"strength": {"numerator": {"value": 1}}}]},
            "Medication.ingredient[0].strength",
        ),
        (_bundle("urn:uuid:a", "urn:uuid:a"), "Bundle"),
        (
            {"resourceType": "Questionnaire", "status": "active", "item": [{"linkId": "1", "type": "sum"}]},
            "Questionnaire.item[0].type",
        ),
        (
            {
                "resourceType": "Questionnaire",
                "status": "active",
                "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "2", "type": "sum"}]}],
            },
            "Questionnaire.item[0].item[0].type",
        ),
    ],
)
def test_a_fault_by_the_definition_of_the_type_is_refused(fields: Json, path: str) -> None:
    assert path in refused(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"resourceType": "Patient", "contact": [{"gender": "female", "name": {"text": "Bea"}}]},
        {"resourceType": "Patient", "generalPractitioner": [{"reference": "Organization/q"}]},
        _CONDITION | {"clinicalStatus": {"coding": [{"system": _STATUS, "code": "active"}]}},
        _bundle("urn:uuid:a", "urn:uuid:b"),
    ],
)
def test_what_the_definition_permits_is_accepted(fields: Any) -> None:
    assert refused(fields) == []


def test_each_release_has_its_own_codes_and_targets() -> None:
    def encounter(status: str) -> Json:
        return {"resourceType": "Encounter", "status": status, "class": {"code": "AMB"}}

    assert refused(encounter("finished")) == []
    assert refused(encounter("discharged")) == ["Encounter.status"]
    in_r5 = {"resourceType": "Encounter", "status": "discharged"}
    assert refused(in_r5, Release.R5) == []
    assert refused(in_r5 | {"status": "finished"}, Release.R5) == ["Encounter.status"]
