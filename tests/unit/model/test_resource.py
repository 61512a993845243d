"""A resource keeps every byte but those the server owns, is read once, and can't be changed through its
fields.
"""

import re
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Malformed
from broker.model import json_text
from broker.model.resource import JsonObject, Resource, UnversionedResource

AT_MS = 1_704_067_200_000
OBSERVATION = Resource(
    b'{ "id": "mine", "status": "final", '
    b'"meta": {"versionId":"7", "profile": ["http://p"], "lastUpdated":"2020"},\n'
    b'  "valueQuantity": { "value": 2.00, "unit":"mmol/L" }, "resourceType": "Observation"}'
)


def versioned(resource: Resource, resource_type: str = "Observation", resource_id: str = "x") -> bytes:
    return resource.without_version(type=resource_type, id=resource_id).with_version(3, AT_MS).text


def test_the_servers_members_come_first_and_the_others_keep_their_spelling() -> None:
    assert versioned(OBSERVATION) == (
        b'{"resourceType":"Observation","id":"x","meta":{"versionId":"3",'
        b'"lastUpdated":"2024-01-01T00:00:00.000Z","profile":["http://p"]},"status":"final",'
        b'"valueQuantity":{ "value": 2.00, "unit":"mmol/L" }}'
    )


@pytest.mark.parametrize("text", [b"{}", b'{"meta":{}}', b'{"meta":null}', b'{"meta":{"versionId":"1"}}'])
def test_a_version_of_a_resource_without_other_members_is_json(text: bytes) -> None:
    assert orjson.loads(versioned(Resource(text))) == {
        "resourceType": "Observation",
        "id": "x",
        "meta": {"versionId": "3", "lastUpdated": "2024-01-01T00:00:00.000Z"},
    }


def test_primitive_siblings_stay_and_the_last_of_a_repeated_name_counts() -> None:
    text = b'{"_id":{"extension":[]},"status":"a","_status":{"id":"s"},"status":"b","id":"1","id":"2"}'
    stored = versioned(Resource(text))
    assert stored.count(b'"status"') == 1
    assert stored.count(b'"id":"x"') == 1
    assert orjson.loads(stored) | {"meta": None} == {
        "resourceType": "Observation",
        "id": "x",
        "meta": None,
        "_id": {"extension": []},
        "status": "b",
        "_status": {"id": "s"},
    }


def test_a_meta_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        Resource(b'{"meta":[]}').without_version(type="Patient", id="x")
    assert caught.value.issues[0].expression == "Patient.meta"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_a_version_loses_and_adds_nothing(values: dict[str, Any]) -> None:
    values.pop("meta", None)
    stored = orjson.loads(versioned(Resource(orjson.dumps(values))))
    for name in ("meta", "id", "resourceType"):
        stored.pop(name)
        values.pop(name, None)
    assert stored == values
    assert list(stored) == list(values)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_joined_members_are_the_same_object(values: dict[str, Any]) -> None:
    assert orjson.loads(json_text.join(Resource(orjson.dumps(values)).members)) == values


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_a_copy_has_the_values_of_the_text(values: dict[str, Any]) -> None:
    assert Resource(orjson.dumps(values)).copy() == values


@pytest.mark.parametrize("number", [b"2.00", b"1e3", b"-0.0", b"123456789012345678901234567890.10"])
def test_numbers_in_stored_text_keep_their_spelling(number: bytes) -> None:
    assert re.search(rb":" + re.escape(number) + rb"[,}]", versioned(Resource(b'{"value":' + number + b"}")))


def test_numbers_in_fields_are_exact() -> None:
    resource = Resource(b'{"a":2.00,"b":7,"c":1e3}')
    assert [str(value) for value in resource.fields.values()] == ["2.00", "7", "1E+3"]
    assert resource.copy()["a"] == Decimal("2.00")


def test_the_text_is_read_once() -> None:
    decoded: list[bytes] = []

    def decode(text: bytes) -> dict[str, Any]:
        decoded.append(text)
        return json_text.decode_object(text)

    resource = Resource(b'{"resourceType":"Patient","id":"p"}', decode)
    assert not decoded
    assert (resource.type, resource.id) == ("Patient", "p")
    assert resource.fields is resource.fields
    assert resource.members["id"] == b'"p"'
    assert decoded == [resource.text]


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.__setitem__("status", "x"),
        lambda fields: fields["meta"].__setitem__("source", "x"),
        lambda fields: fields["name"][0].__setitem__("family", "x"),
        lambda fields: fields["name"].append({}),
        lambda fields: fields["name"][0]["given"].append("x"),
        lambda fields: fields.update(status="x"),
        lambda fields: next(iter(fields.values())).clear(),
    ],
)
def test_fields_are_read_only_at_every_depth(change: Any) -> None:
    resource = Resource(b'{"meta":{"source":"s"},"name":[{"family":"f","given":["g"]}],"status":"final"}')
    with pytest.raises((TypeError, AttributeError)):
        change(resource.fields)
    assert resource.fields == resource.copy() | {
        "name": (JsonObject({"family": "f", "given": ["g"]}),),
    }


def test_a_copy_is_the_callers_own() -> None:
    resource = Resource(b'{"meta":{"tag":[]}}')
    resource.copy()["meta"]["tag"].append("x")
    assert resource.copy() == {"meta": {"tag": []}}
    assert resource.fields["meta"]["tag"] == ()


def test_resources_of_the_same_text_are_equal() -> None:
    assert Resource(b"{}") == Resource(b"{}")
    assert Resource(b"{}") != Resource(b"{ }")
    assert len({Resource(b"{}"), Resource(b"{}")}) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"Observation"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e9999}',
        b'{"a":1e-9999}',
        b'{"a":"\x01"}',
        b'{"a":1e99999999999999999999}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1}{"b":2}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * 100_000,
    ],
)
def test_a_text_that_is_not_a_bounded_json_object_in_utf8_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Resource(text).fields  # noqa: B018  reading is what fails
    assert caught.value.issues[0].code == "structure"


def test_brackets_that_do_not_nest_and_brackets_in_strings_are_not_depth() -> None:
    text = orjson.dumps({"resourceType": "List", "a": [[] for _ in range(500)], "b": '\\"' + "[{" * 500})
    assert Resource(text).type == "List"


def test_the_depth_limit_is_exact() -> None:
    depth = json_text.MAX_DEPTH - 1
    assert Resource(b'{"a":' + b"[" * depth + b"]" * depth + b"}").fields
    with pytest.raises(Malformed, match="deeper"):
        Resource(b'{"a":' + b"[" * (depth + 1) + b"]" * (depth + 1) + b"}").fields  # noqa: B018


def test_an_unfinished_text_full_of_quotes_costs_no_more_than_its_length() -> None:
    with pytest.raises(Malformed):
        Resource(b'{"a":' + b"[" * 100 + b'"' + b'\\"' * 2_000_000).fields  # noqa: B018


def test_type_and_id_are_empty_when_absent_and_refused_when_not_a_string() -> None:
    assert Resource(b"{}").type == ""
    assert Resource(b'{"id":null}').id == ""
    with pytest.raises(Malformed):
        Resource(b'{"resourceType":1}').type  # noqa: B018
    with pytest.raises(Malformed):
        Resource(b'{"id":{}}').id  # noqa: B018


def test_type_id_and_the_version_members_stand_before_the_tail() -> None:
    assert UnversionedResource("Patient", "ana", b'},"active":true}').with_version(2, 0).text == (
        b'{"resourceType":"Patient","id":"ana",'
        b'"meta":{"versionId":"2","lastUpdated":"1970-01-01T00:00:00.000Z"},"active":true}'
    )
