"""References in a resource: the patient it is about, and links between the entries of a transaction."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.references import patient_reference, replace_references
from broker.model.resource import Resource

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


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


def test_references_are_replaced_as_whole_values_and_numbers_keep_their_spelling() -> None:
    urn = "urn:uuid:0b1c"
    resource = Resource(
        b'{"subject":{"reference":"urn:uuid:0b1c"},"text":{"div":"<a href=\\"urn:uuid:0b1c\\">x</a>"},'
        b'"urn:uuid:0b1c":1.50,"uris":["urn:uuid:0b1c","\\u0075rn:uuid:0b1c"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert replace_references(resource, {urn: "Patient/9"}).text == (
        b'{"subject":{"reference":"Patient/9"},"text":{"div":"<a href=\\"urn:uuid:0b1c\\">x</a>"},'
        b'"urn:uuid:0b1c":1.50,"uris":["Patient/9","Patient/9"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert replace_references(resource, {}) is resource


@given(json_values)
def test_replacing_what_does_not_occur_changes_no_byte(value: object) -> None:
    resource = Resource(orjson.dumps({"a": value}))
    assert replace_references(resource, {"urn:uuid:never-here": "Patient/1"}) == resource
