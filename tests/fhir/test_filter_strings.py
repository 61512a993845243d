"""Filter strings of the backport: what each form means, what is refused, and that writing and reading are
inverse (R-140..R-144).
"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.filter_strings import has_prefix, parse_filter_string, render_filter_string
from broker.model.search import Comparator, Filter

NAMES = st.from_regex(r"[a-z_][a-z0-9-]{0,20}(\.[a-z]{1,8})?", fullmatch=True)
TYPES = st.none() | st.sampled_from(["Patient", "Observation", "Encounter"])
MODIFIERS = st.none() | st.sampled_from(["not", "missing", "identifier", "Patient", "of-type", "code-text"])
PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" ")
VALUES = st.text(PRINTABLE, min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient=Patient/1", [Filter("patient", "Patient/1")]),
        ("code:not=a,b", [Filter("code", "a,b", modifier="not")]),
        ("Encounter.patient=Patient/1", [Filter("patient", "Patient/1", resource_type="Encounter")]),
        ("Encounter.patient:identifier=s|v", [Filter("patient", "s|v", None, "identifier", "Encounter")]),
        ("Encounter?patient=Patient/1", [Filter("patient", "Patient/1", resource_type="Encounter")]),
        ("patient.gender=male", [Filter("patient.gender", "male")]),
        ("Observation?patient.gender=male", [Filter("patient.gender", "male", resource_type="Observation")]),
        ("subject:Patient=1", [Filter("subject", "1", modifier="Patient")]),
        (
            "Observation?code=a&value-quantity=gt5",
            [
                Filter("code", "a", resource_type="Observation"),
                Filter("value-quantity", "gt5", resource_type="Observation"),
            ],
        ),
        ("code=http://loinc.org|8867-4", [Filter("code", "http://loinc.org|8867-4")]),
        ("code=http%3A%2F%2Floinc.org%7C8867-4", [Filter("code", "http://loinc.org|8867-4")]),
        ("code=a=b:c", [Filter("code", "a=b:c")]),
        ("url=http://example.org/a?b=c", [Filter("url", "http://example.org/a?b=c")]),
        (r"family=a\,b\|c\$d\\e", [Filter("family", r"a\,b\|c\$d\\e")]),
        ("date=ge2024-01-01T10:00:00+01:00", [Filter("date", "ge2024-01-01T10:00:00+01:00")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_form_is_read(text: str, expected: list[Filter]) -> None:
    assert parse_filter_string(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "patient",
        "=x",
        "patient=",
        "Encounter?",
        "encounter?patient=1",
        "code:=x",
        "Encounter.=x",
        "a b=c",
        "&",
        "?a=b",
    ],
)
def test_a_filter_string_that_cannot_be_read_is_refused_and_not_ignored(text: str) -> None:
    with pytest.raises(ValueError):
        parse_filter_string(text)


@given(NAMES, VALUES, MODIFIERS, TYPES)
def test_a_rendered_filter_is_read_as_the_same_filter(
    name: str, value: str, modifier: str | None, kind: str | None
) -> None:
    filter_ = Filter(name, value, None, modifier, kind)
    assert parse_filter_string(render_filter_string(filter_)) == [filter_]


@given(st.text(max_size=60))
def test_any_text_is_read_as_at_least_one_filter_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_filter_string(text)


@pytest.mark.parametrize(
    "comparator", [comparator for comparator in Comparator if comparator is not Comparator.EQ]
)
def test_a_comparator_goes_into_each_of_the_values(comparator: Comparator) -> None:
    assert (
        render_filter_string(Filter("date", r"2024,2025", comparator))
        == f"date={comparator}2024,{comparator}2025"
    )
    assert render_filter_string(Filter("x", r"1\,5", comparator)) == rf"x={comparator}1\,5"


def test_equality_has_no_prefix() -> None:
    assert render_filter_string(Filter("date", "2024", Comparator.EQ)) == "date=2024"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ge5", True),
        ("2024", False),
        ("1,lt5", True),
        ("general", False),
        ("ap.5", True),
        ("lt-3", True),
        ("eq", False),
    ],
)
def test_only_a_prefix_before_a_number_or_date_counts(value: str, *, expected: bool) -> None:
    assert has_prefix(value) is expected
