"""Criteria of conditional requests: the forms in which clients send them, matches, refusals."""

import orjson
import pytest

from broker.errors import Malformed, PreconditionFailed, RequestError, Unprocessable
from broker.fhir.criteria import parse_condition
from broker.model.resource import Resource


def patient(*identifiers: tuple[str | None, str]) -> Resource:
    values = [{"value": value} | ({"system": system} if system else {}) for system, value in identifiers]
    return Resource(orjson.dumps({"resourceType": "Patient", "identifier": values}))


ONE = patient(("urn:a", "1"))


@pytest.mark.parametrize(
    "text",
    [
        "identifier=urn:a|1",
        "?identifier=urn:a|1",
        "  identifier=urn:a|1 ",
        "identifier=urn%3Aa%7C1",
        "Patient?identifier=urn:a|1",
        "/Patient?identifier=urn:a|1",
        "Patient/?identifier=urn:a|1",
        "http://ehr.example:8080/fhir/Patient?identifier=urn:a|1",
        "https://ehr.example/a=b/fhir/Patient?_format=json&identifier=urn:a|1&_pretty=true",
        "identifier=1",
        "identifier=urn:b|9,urn:a|1",
        "identifier=9,1",
        "identifier=1&identifier=urn:a|1",
        "_id=p",
        "_id=q,p&identifier=1",
    ],
)
def test_every_form_of_criteria_is_understood(text: str) -> None:
    criteria = parse_condition(text, "Patient")
    assert criteria.is_met_by("p", ONE)
    assert not criteria.is_met_by("p", patient(("urn:a", "2"))) or "identifier" not in text


@pytest.mark.parametrize(
    ("text", "resource", "is_met"),
    [
        ("identifier=|1", ONE, False),
        ("identifier=|1", patient((None, "1")), True),
        ("identifier=urn:a|1", patient((None, "1")), False),
        ("identifier=urn:b|1", ONE, False),
        ("identifier=1&identifier=2", ONE, False),
        ("identifier=1&identifier=2", patient(("urn:a", "1"), ("urn:b", "2")), True),
        (r"identifier=urn:a|x\,y", patient(("urn:a", "x,y")), True),
        (r"identifier=urn:a|x\,y", patient(("urn:a", "x")), False),
        (r"identifier=x\|y", patient(("urn:a", "x|y")), True),
        (r"identifier=urn:a|x\|y", patient(("urn:a", "x|y")), True),
        ("identifier=urn:a|x|y", patient(("urn:a", "x|y")), True),
        (r"identifier=urn:a|x\\", patient(("urn:a", "x\\")), True),
        (r"identifier=urn:a|x\$y", patient(("urn:a", "x$y")), True),
        ("identifier=urn:a|a+b", patient(("urn:a", "a b")), True),
        ("identifier=urn:a|a%2Bb", patient(("urn:a", "a+b")), True),
        ("identifier=1&_id=q", ONE, False),
    ],
)
def test_what_criteria_match(text: str, resource: Resource, is_met: bool) -> None:
    assert parse_condition(text, "Patient").is_met_by("p", resource) is is_met


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("code=1", Unprocessable, "'code'"),
        ("identifier=a|1&birthdate=2000", Unprocessable, "'birthdate'"),
        ("identifier:of-type=s|c|1", Unprocessable, "'identifier:of-type'"),
        ("identifier:not=1", Unprocessable, "'identifier:not'"),
        ("_has:Observation:patient:code=1", Unprocessable, "'_has:Observation:patient:code'"),
        ("_lastUpdated=gt2000", Unprocessable, "'_lastUpdated'"),
        ("identifier=", Unprocessable, "identifier"),
        ("identifier=urn:a|", Unprocessable, "identifier"),
        ("identifier=,", Unprocessable, "identifier"),
        ("_id=a/b", Unprocessable, "_id"),
        ("identifier=%ff", Malformed, "query"),
        ("identifier", Malformed, "query"),
        ("Device?identifier=1", Malformed, "'Device'"),
        ("http://x/fhir/Device?identifier=1", Malformed, "Device"),
        ("", PreconditionFailed, "no criteria"),
        ("Patient?", PreconditionFailed, "no criteria"),
        ("_format=json", PreconditionFailed, "no criteria"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(text: str, error: type[RequestError], named: str) -> None:
    with pytest.raises(error) as caught:
        parse_condition(text, "Patient")
    assert named in caught.value.issues[0].text


def test_requests_for_the_same_identifier_have_a_name_in_common() -> None:
    for text in (
        "identifier=urn:a|1",
        "identifier=|1",
        "?identifier=1",
        "identifier=1,2",
        "identifier=1&_id=p",
    ):
        assert "identifier 1" in parse_condition(text, "Patient").names
    assert parse_condition("_id=p", "Patient").names == ("id p",)
