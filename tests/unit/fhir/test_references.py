"""References in a resource: the patient it is about, and references by search."""

from typing import Any

import orjson
import pytest

from broker.fhir.references import conditional_references, patient_reference
from broker.model.resource import Resource


@pytest.mark.parametrize(
    ("body", "patient"),
    [
        ({"subject": {"reference": "Patient/p1"}}, "Patient/p1"),
        ({"patient": {"reference": "Patient/p1/_history/2"}}, "Patient/p1"),
        ({"beneficiary": {"reference": "Patient/p1"}}, "Patient/p1"),
        ({"subject": [{"reference": "Group/g"}, {"reference": "Patient/p2"}]}, "Patient/p2"),
        ({"subject": {"reference": "Device/d"}, "patient": {"reference": "Patient/p"}}, "Patient/p"),
        ({"subject": {"reference": "http://other/Patient/p"}}, None),
        ({"subject": {"reference": "urn:uuid:1"}}, None),
        ({"subject": {"display": "somebody"}}, None),
        ({"subject": "Patient/p"}, None),
        ({"resourceType": "Patient", "id": "p", "subject": {"reference": "Patient/p"}}, None),
        ({}, None),
    ],
)
def test_patient_of_a_resource(body: dict[str, Any], patient: str | None) -> None:
    assert patient_reference(Resource(orjson.dumps(body))) == patient


def test_references_by_search_are_found_with_their_elements() -> None:
    body = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/p?x"},
        "performer": [{"reference": "Practitioner/1"}, {"reference": "Practitioner?identifier=a|1"}],
        "contained": [{"resourceType": "Group", "managingEntity": {"reference": "Organization?_id=o"}}],
        "note": [{"text": "Patient?identifier=1"}],
        "focus": [{"reference": "http://example.org/Patient?identifier=1"}, {"reference": 7}],
    }
    found = conditional_references(Resource(orjson.dumps(body)))
    assert [(reference.element, reference.type) for reference in found] == [
        ("Observation.performer[1].reference", "Practitioner"),
        ("Observation.contained[0].managingEntity.reference", "Organization"),
    ]
    escaped = rb'{"subject":{"reference":"Patient\u003fidentifier=1"}}'
    assert conditional_references(Resource(escaped))[0].text == "Patient?identifier=1"
    assert conditional_references(Resource(b'{"subject":{"reference":"Patient/1"}}')) == []
