"""Which references of a resource name resources of this broker."""

import orjson
import pytest

from broker.fhir.identifiers import IdentifierToken
from broker.fhir.server_references import (
    LogicalReference,
    ReferenceReader,
    logical_references,
    with_logical_references,
    with_references,
)
from broker.model.resource import Resource

READER = ReferenceReader("https://broker.example/base/")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Patient/1", "Patient/1"),
        ("Patient/1/_history/2", "Patient/1"),
        ("https://broker.example/base/r4/Patient/1", "Patient/1"),
        ("https://broker.example/base/r5/Patient/1/_history/2", "Patient/1"),
        ("https://broker.example/base/Patient/1", None),
        ("https://other.example/r4/Patient/1", None),
        ("#contained", None),
        ("urn:uuid:5f339d06-b1d0-466b-8578-1dffecfe4f07", None),
        ("Patient?identifier=1", None),
        ("Patient/1#part", None),
    ],
)
def test_only_references_to_this_broker_are_local(text: str, target: str | None) -> None:
    resource = Resource(orjson.dumps({"resourceType": "Observation", "subject": {"reference": text}}))
    assert READER.local(resource) == ({} if target is None else {text: target})


def test_references_are_found_at_any_depth_and_in_their_order() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/1", "display": "Patient/2"},
        "performer": [{"reference": "Practitioner/3"}, {"reference": "Patient/1"}],
        "contained": [{"resourceType": "Device", "patient": {"reference": "Patient/4"}}],
        "extension": [{"url": "Device/5", "valueReference": {"reference": "Device/6"}}],
        "component": [{"reference": {"reference": "Device/7"}}],
    }
    found = READER.local(Resource(orjson.dumps(resource)))
    assert list(found) == ["Patient/1", "Practitioner/3", "Patient/4", "Device/6", "Device/7"]


@pytest.mark.parametrize(
    "member",
    [b'"reference":"Patient/1"', b'"reference" :\n"Patient/1"', b'"\\u0072eference":"Patient\\/1"'],
)
def test_a_reference_is_found_and_replaced_however_it_is_spelled(member: bytes) -> None:
    note = b'"note":"\\"reference\\":\\"Patient/1\\"","x":"reference"'
    text = b'{"resourceType":"Observation",%b,"subject":{%b,"display":"Patient/1"}}' % (note, member)
    resource = Resource(text)
    assert READER.local(resource) == {"Patient/1": "Patient/1"}
    changed = with_references(resource, {"Patient/1": "Patient/77"})
    assert changed.fields["subject"] == {"reference": "Patient/77", "display": "Patient/1"}
    assert changed.fields["note"] == resource.fields["note"]


MRN = IdentifierToken("urn:mrn", "4711")
IDENTIFIER = {"system": "urn:mrn", "value": "4711"}


@pytest.mark.parametrize(
    ("name", "reference", "resource_type"),
    [
        ("subject", {"type": "Patient", "identifier": IDENTIFIER, "display": "Ann"}, "Patient"),
        ("device", {"identifier": IDENTIFIER}, "Device"),
        ("performer", [{"type": "Practitioner", "identifier": IDENTIFIER}], "Practitioner"),
        ("subject", {"identifier": IDENTIFIER}, None),
        ("subject", {"type": "Patient", "identifier": {"value": "4711"}}, None),
        ("subject", {"type": "Patient", "identifier": IDENTIFIER, "reference": "Patient/1"}, None),
        ("contained", [{"resourceType": "Bundle", "type": "collection", "identifier": IDENTIFIER}], None),
        ("subject", {"type": 1, "identifier": IDENTIFIER}, None),
    ],
)
def test_a_logical_reference_has_a_type_and_an_identifier_with_a_system(
    name: str, reference: object, resource_type: str | None
) -> None:
    resource = Resource(orjson.dumps({"resourceType": "Observation", name: reference}))
    expected = [] if resource_type is None else [LogicalReference(resource_type, MRN)]
    assert logical_references(resource) == expected


def test_what_was_found_is_added_and_all_else_keeps_its_spelling() -> None:
    text = (
        b'{"resourceType":"Observation","valueQuantity":{"value":1.50},'
        b'"subject":{"type":"Patient","identifier":{"system":"urn:mrn","value":"4711"}}}'
    )
    changed = with_logical_references(Resource(text), {LogicalReference("Patient", MRN): "Patient/77"})
    assert changed.text == text[:-2] + b',"reference":"Patient/77"}}'
    assert with_logical_references(Resource(text), {}).text == text
    other = {LogicalReference("Device", MRN): "Device/1"}
    assert with_logical_references(Resource(text), other).text == text
