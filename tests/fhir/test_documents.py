"""Resources as bytes: nothing of a resource may change on its way to the store but what the server owns."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Malformed, RequestError, Unprocessable
from broker.fhir import documents
from broker.fhir.documents import BundleResult

OBSERVATION = (
    b'{ "id": "mine", "status": "final", "meta": {"versionId":"7", "profile": ["http://p"], "lastUpdated":"2020"},\n'
    b'  "valueQuantity": { "value": 2.00, "unit":"mmol/L" }, "resourceType": "Observation"}'
)


def stored(body: bytes, resource_type: str = "Observation", one: str = "x") -> bytes:
    head, tail = documents.split(body, type=resource_type, id=one)
    return head + b'"versionId":"3","lastUpdated":"2024-01-01T00:00:00.000Z"' + tail


def test_split_puts_the_servers_members_first_and_keeps_the_rest_as_it_was() -> None:
    assert stored(OBSERVATION) == (
        b'{"resourceType":"Observation","id":"x","meta":{"versionId":"3",'
        b'"lastUpdated":"2024-01-01T00:00:00.000Z","profile":["http://p"]},"status":"final",'
        b'"valueQuantity":{ "value": 2.00, "unit":"mmol/L" }}'
    )


@pytest.mark.parametrize("body", [b"{}", b'{"meta":{}}', b'{"meta":null}', b'{"meta":{"versionId":"1"}}'])
def test_split_of_a_resource_without_other_members_is_json(body: bytes) -> None:
    assert orjson.loads(stored(body)) == {
        "resourceType": "Observation",
        "id": "x",
        "meta": {"versionId": "3", "lastUpdated": "2024-01-01T00:00:00.000Z"},
    }


def test_split_keeps_extension_siblings_and_lets_the_last_of_a_repeated_name_count() -> None:
    body = b'{"_id":{"extension":[]},"status":"a","_status":{"id":"s"},"status":"b","id":"1","id":"2"}'
    held = stored(body)
    assert held.count(b'"status"') == 1
    assert held.count(b'"id":"x"') == 1
    assert orjson.loads(held) | {"meta": None} == {
        "resourceType": "Observation",
        "id": "x",
        "meta": None,
        "_id": {"extension": []},
        "status": "b",
        "_status": {"id": "s"},
    }


def test_split_refuses_a_meta_that_is_no_object() -> None:
    with pytest.raises(Malformed) as caught:
        documents.split(b'{"meta":[]}', type="Patient", id="x")
    assert caught.value.issues[0].expression == "Patient.meta"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_split_loses_and_adds_nothing(resource: dict[str, Any]) -> None:
    resource.pop("meta", None)
    held = orjson.loads(stored(orjson.dumps(resource)))
    for name in ("meta", "id", "resourceType"):
        held.pop(name)
        resource.pop(name, None)
    assert held == resource
    assert list(held) == list(resource)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_members_joined_again_are_the_same_object(resource: dict[str, Any]) -> None:
    assert orjson.loads(documents.join(documents.members(orjson.dumps(resource)))) == resource


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"Observation"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1}{"b":2}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * 100_000,
    ],
)
def test_what_is_no_bounded_json_object_in_utf8_is_malformed(body: bytes) -> None:
    for read in (
        documents.resource_type,
        documents.resource_id,
        documents.identifiers,
        documents.parse_bundle,
    ):
        with pytest.raises(Malformed) as caught:
            read(body)
        assert caught.value.issues[0].code == "structure"


def test_many_brackets_without_depth_and_brackets_in_text_are_fine() -> None:
    body = orjson.dumps({"resourceType": "List", "a": [[] for _ in range(500)], "b": '\\"' + "[{" * 500})
    assert documents.resource_type(body) == "List"


def test_the_depth_limit_is_exact() -> None:
    most = documents.MAX_DEPTH - 1
    documents.parse(b'{"a":' + b"[" * most + b"]" * most + b"}")
    with pytest.raises(Malformed, match="deeper"):
        documents.parse(b'{"a":' + b"[" * (most + 1) + b"]" * (most + 1) + b"}")


def test_an_unfinished_text_full_of_quotes_costs_no_more_than_its_length() -> None:
    with pytest.raises(Malformed):
        documents.parse(b'{"a":' + b"[" * 100 + b'"' + b'\\"' * 2_000_000)


def test_type_and_id_are_empty_when_absent_and_refused_when_no_text() -> None:
    assert documents.resource_type(b"{}") == ""
    assert documents.resource_id(b'{"id":null}') == ""
    for read, body in (
        (documents.resource_type, b'{"resourceType":1}'),
        (documents.resource_id, b'{"id":{}}'),
    ):
        with pytest.raises(Malformed):
            read(body)


def test_a_body_of_another_type_than_asked_for_is_refused() -> None:
    documents.check_type(b'{"resourceType":"Patient"}', "Patient")
    for body, code in ((b'{"resourceType":"Patient"}', "invalid"), (b"{}", "required")):
        with pytest.raises(Unprocessable) as caught:
            documents.check_type(body, "Observation")
        assert (caught.value.issues[0].code, caught.value.issues[0].expression) == (code, "resourceType")


@pytest.mark.parametrize("one", ["a", "A-1.b", "x" * 64])
def test_ids_are_accepted(one: str) -> None:
    documents.check_id(one)


@pytest.mark.parametrize("one", ["", "x" * 65, "a/b", "a b", "a\n", "é", "a_b"])
def test_what_is_no_id_is_refused(one: str) -> None:
    with pytest.raises(Malformed):
        documents.check_id(one)


def test_identifiers_are_system_and_value_each_once_and_one_line_each() -> None:
    body = orjson.dumps(
        {
            "identifier": [
                {"system": "http://s", "value": "a b"},
                {"value": "no-system"},
                {"system": "http://s", "value": "a b"},
                {"system": "http://s"},
                {"system": "http://s", "value": "two\nlines"},
                {"system": 3, "value": "x"},
                "junk",
            ]
        }
    )
    assert documents.identifiers(body) == ["http://s|a b", "|no-system"]
    assert documents.identifiers(b'{"identifier":{"system":"urn:s","value":"1"}}') == ["urn:s|1"]
    assert documents.identifiers(b"{}") == []


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
    assert documents.patient_reference(orjson.dumps(body)) == patient


def test_references_are_replaced_as_whole_values_and_numbers_keep_their_spelling() -> None:
    urn = "urn:uuid:0b1c"
    body = (
        b'{"subject":{"reference":"urn:uuid:0b1c"},"text":{"div":"<a href=\\"urn:uuid:0b1c\\">x</a>"},'
        b'"urn:uuid:0b1c":1.50,"uris":["urn:uuid:0b1c","\\u0075rn:uuid:0b1c"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert documents.replace_references(body, {urn: "Patient/9"}) == (
        b'{"subject":{"reference":"Patient/9"},"text":{"div":"<a href=\\"urn:uuid:0b1c\\">x</a>"},'
        b'"urn:uuid:0b1c":1.50,"uris":["Patient/9","Patient/9"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert documents.replace_references(body, {}) is body


@given(json_values)
def test_replacing_what_does_not_occur_changes_no_byte(value: object) -> None:
    body = orjson.dumps({"a": value})
    assert documents.replace_references(body, {"urn:uuid:never-here": "Patient/1"}) == body


def bundle(*entries: object, kind: str = "transaction") -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def test_bundle_requests_are_read_with_their_resources_as_bytes() -> None:
    body = (
        b'{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","resource":'
        b'{"resourceType":"Observation","valueQuantity":{"value":2.00}},"request":{"method":"POST",'
        b'"url":"Observation","ifNoneExist":"identifier=s|1"}},'
        b'{"request":{"method":"DELETE","url":"Patient/1","ifMatch":"W/\\"2\\""}}]}'
    )
    parsed = documents.parse_bundle(body)
    assert parsed.type == "transaction"
    first, second = parsed.entries
    assert first.resource == b'{"resourceType":"Observation","valueQuantity":{"value":2.00}}'
    assert (first.full_url, first.method, first.url) == ("urn:uuid:1", "POST", "Observation")
    assert first.if_none_exist == "identifier=s|1"
    assert (second.method, second.if_match, second.resource) == ("DELETE", 'W/"2"', None)


def test_a_bundle_may_be_empty() -> None:
    body = b'{"resourceType":"Bundle","type":"batch"}'
    assert documents.parse_bundle(body) == documents.BundleRequest("batch", ())


GOOD = {"request": {"method": "GET", "url": "Patient/1"}}


@pytest.mark.parametrize(
    ("body", "error", "expressions"),
    [
        (b'{"resourceType":"Patient"}', Unprocessable, ["Bundle.resourceType"]),
        (bundle(kind="history"), Unprocessable, ["Bundle.type"]),
        (b'{"resourceType":"Bundle"}', Unprocessable, ["Bundle.type"]),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', Malformed, ["Bundle.entry"]),
        (bundle(GOOD, 3), Malformed, ["Bundle.entry[1]"]),
        (bundle(GOOD, {}), Unprocessable, ["Bundle.entry[1].request"]),
        (bundle({"request": []}), Malformed, ["Bundle.entry[0].request"]),
        (bundle({"request": {"method": 1, "url": "x"}}), Malformed, ["Bundle.entry[0].request.method"]),
        (
            bundle(GOOD, GOOD, {"request": {"method": "post"}}),
            Unprocessable,
            ["Bundle.entry[2].request.method", "Bundle.entry[2].request.url"],
        ),
        (
            bundle({"request": {"method": "PUT", "url": "Patient/1"}}),
            Unprocessable,
            ["Bundle.entry[0].resource"],
        ),
        (bundle({**GOOD, "resource": []}), Malformed, ["Bundle.entry[0].resource"]),
        (
            bundle({**GOOD, "fullUrl": "urn:a"}, {**GOOD, "fullUrl": "urn:a"}),
            Unprocessable,
            ["Bundle.entry[1].fullUrl"],
        ),
        (bundle({}, 1), Malformed, ["Bundle.entry[1]", "Bundle.entry[0].request"]),
    ],
)
def test_what_is_wrong_in_a_bundle_is_told_with_its_place(
    body: bytes, error: type[RequestError], expressions: list[str]
) -> None:
    with pytest.raises(error) as caught:
        documents.parse_bundle(body)
    assert [issue.expression for issue in caught.value.issues] == expressions


def test_a_bundle_response_carries_each_result_in_order() -> None:
    rendered = documents.render_bundle_response(
        "batch",
        [
            BundleResult(
                "201 Created",
                location="Observation/1/_history/1",
                etag='W/"1"',
                last_modified_ms=1_700_000_000_123,
                resource=b'{"resourceType":"Observation","valueQuantity":{"value":2.00}}',
            ),
            BundleResult("422 Unprocessable Entity", outcome=b'{"resourceType":"OperationOutcome"}'),
        ],
    )
    assert b"2.00" in rendered
    assert orjson.loads(rendered) == {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [
            {
                "resource": {"resourceType": "Observation", "valueQuantity": {"value": 2.0}},
                "response": {
                    "status": "201 Created",
                    "location": "Observation/1/_history/1",
                    "etag": 'W/"1"',
                    "lastModified": "2023-11-14T22:13:20.123Z",
                },
            },
            {
                "response": {
                    "status": "422 Unprocessable Entity",
                    "outcome": {"resourceType": "OperationOutcome"},
                }
            },
        ],
    }
    empty = documents.render_bundle_response("transaction", [])
    assert orjson.loads(empty) == {"resourceType": "Bundle", "type": "transaction-response"}


def test_numbers_in_stored_bytes_are_spelt_as_they_came() -> None:
    numbers = [b"2.00", b"1e3", b"-0.0", b"123456789012345678901234567890.10"]
    for number in numbers:
        assert re.search(rb":" + re.escape(number) + rb"[,}]", stored(b'{"value":' + number + b"}"))
