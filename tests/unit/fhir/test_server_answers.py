"""What a server's answer to a write or a search means; whatever it sends, reading it raises nothing."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.server_answers import (
    MAX_TEXT,
    EntryAnswer,
    is_resource,
    matches,
    outcome_summary,
    reference_of,
    transaction_answers,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


def outcome(*issues: dict[str, Any]) -> bytes:
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": list(issues)})


def response(*entries: Any, kind: str = "transaction-response") -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def test_the_summary_of_an_operation_outcome_has_codes_and_places_its_errors_first() -> None:
    body = outcome(
        {"severity": "warning", "code": "informational", "diagnostics": "no narrative"},
        {
            "severity": "error",
            "code": "required",
            "details": {"text": "of Ann Smith", "coding": [{"code": "MSG_PARAM"}, {"code": "4711"}]},
            "diagnostics": "Ann Smith has no status",
            "expression": ["Observation.component[1].status", "Patient.name.where(family='Smith')"],
        },
    )
    assert outcome_summary(body) == (
        "error required MSG_PARAM (Observation.component[1].status); warning informational"
    )
    assert outcome_summary(outcome()) == ""
    many = [{"severity": "error", "code": "value", "location": [f"Bundle.entry[{n}]"]} for n in range(99)]
    text = outcome_summary(outcome(*many))
    assert text is not None
    assert len(text) == MAX_TEXT


@given(st.dictionaries(st.sampled_from(["severity", "code", "details", "diagnostics"]), st.just("Ann Smith")))
def test_no_text_of_a_server_is_in_the_summary(issue: dict[str, str]) -> None:
    assert outcome_summary(outcome(issue, {"details": {"coding": [{"code": "Ann Smith"}]}})) == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"resourceType":"Patient"}', b"\xff"])
def test_other_bodies_are_no_operation_outcome(body: bytes) -> None:
    assert outcome_summary(body) is None
    assert is_resource(body) is (b"Patient" in body)


def test_a_transaction_response_says_what_became_of_each_entry() -> None:
    raw = outcome({"severity": "error", "code": "value"})
    refusal = orjson.loads(raw)
    body = response(
        {"response": {"status": "201 Created", "location": "Observation/9/_history/1"}},
        {"response": {"status": "200"}},
        {"response": {"status": "422 Unprocessable Entity", "outcome": refusal}},
    )
    assert transaction_answers(body, 3) == [
        EntryAnswer(201, "Observation/9"),
        EntryAnswer(200),
        EntryAnswer(422, "", "error value", raw),
    ]
    assert transaction_answers(body, 2) is None, "of another number of entries"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        response({"response": {"status": "200"}}, kind="batch-response"),
        response({"response": {"status": "OK"}}),
        response({"response": {"status": 200}}),
        response({}),
        response(None),
    ],
)
def test_other_bodies_are_no_transaction_response(body: bytes) -> None:
    assert transaction_answers(body, 1) is None


@pytest.mark.parametrize(
    ("location", "reference"),
    [
        ("Patient/1", "Patient/1"),
        ("https://ehr.example/fhir/Patient/a-1.b/_history/3", "Patient/a-1.b"),
        ("/fhir/Patient/1/", "Patient/1"),
        ("https://ehr.example/fhir/Patient", ""),
        ("", ""),
        ("Patient/1?x=y", ""),
    ],
)
def test_a_location_names_a_resource(location: str, reference: str) -> None:
    assert reference_of(location) == reference


def test_matches_are_the_resources_of_the_type_that_matched() -> None:
    def found(resource_type: str, resource_id: str, mode: str | None = "match") -> dict[str, Any]:
        entry: dict[str, Any] = {"resource": {"resourceType": resource_type, "id": resource_id}}
        return entry | ({"search": {"mode": mode}} if mode else {})

    body = response(
        found("Patient", "1"),
        found("Patient", "1"),
        found("Patient", "2", None),
        found("Patient", "3", "include"),
        found("Device", "4"),
        found("OperationOutcome", "5", "outcome"),
        kind="searchset",
    )
    assert matches(body, "Patient") == ["Patient/1", "Patient/2"]
    assert matches(orjson.dumps({"resourceType": "Bundle", "type": "searchset", "total": 0}), "Patient") == []
    assert matches(response(kind="history"), "Patient") is None


@given(st.dictionaries(st.sampled_from(["resourceType", "type", "issue", "entry"]), json_values))
def test_no_answer_raises(answer: dict[str, Any]) -> None:
    for resource_type in ("Bundle", "OperationOutcome"):
        body = orjson.dumps(answer | {"resourceType": resource_type})
        outcome_summary(body)
        transaction_answers(body, 1)
        matches(body, "Patient")
    is_resource(orjson.dumps(answer))
