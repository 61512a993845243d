"""Whatever a payload has: mappings give readings or problems, always the same, and never fail."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.mapping.mapping_set import MappingSet
from broker.mapping.payloads import PayloadError, parse_payload
from broker.mapping.reading import MappedReading, ReadingProblem
from tests.unit.mapping.payloads import (
    ENTRIES,
    HEAD,
    HEART_RATE,
    RECEIVED,
    SELECT,
    TIME,
    mapping,
    problem,
    results,
)


def test_no_mapping_and_several_mappings_are_problems_that_name_the_mappings() -> None:
    one, other = mapping(), mapping(head=HEAD.replace("name: device", "name: other"))
    both = MappingSet((one, other))
    (none,) = both.map({"kind": "unheard"}, RECEIVED)
    (several,) = both.map({"kind": "device", "id": "d", "hr": 72}, RECEIVED)
    assert isinstance(none, ReadingProblem)
    assert isinstance(several, ReadingProblem)
    assert (none.reason, none.candidates) == ("no-mapping", ("device", "other"))
    assert (several.reason, several.candidates) == ("ambiguous-mapping", ("device", "other"))
    (named,) = both.map({"kind": "device", "id": "d", "hr": 72}, RECEIVED, "other")
    assert isinstance(named, MappedReading)
    assert named.mapping == "other"


_KEYS = ["kind", "id", "hr", "at", "entries", "code", "v", "unit", "x"]
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200)
@given(_JSON)
def test_whatever_a_payload_has_gives_readings_or_problems_and_always_the_same(payload: Any) -> None:
    mappings = MappingSet(
        (
            mapping(),
            mapping(
                ENTRIES.replace("GROUP", "time"), head=SELECT.replace("name: device", "name: b"), time=TIME
            ),
            mapping(
                head=HEAD.replace("name: device", "name: c").replace("kind == 'device'", "length(x) > `1`")
            ),
        )
    )
    for name in ("", "device", "b", "c"):
        found = mappings.map(payload, RECEIVED, name)
        assert found
        assert all(isinstance(each, MappedReading | ReadingProblem) for each in found)
        assert list(mappings.map(payload, RECEIVED, name)) == list(found)


@given(
    st.decimals(allow_nan=True, allow_infinity=True)
    | st.from_regex(r"[<>]?-?\d{1,38}(\.\d{1,20})?", fullmatch=True)
)
def test_every_number_in_another_unit_is_a_reading_or_a_problem(number: Any) -> None:
    weights = (
        "observations: [{name: w, type: body-weight, value: w, unit: lb, range: {low: -1e40, high: 1e40}}]"
    )
    (found,) = results({"w": number}, weights)
    assert isinstance(found, MappedReading | ReadingProblem)


def test_a_payload_that_is_nested_too_deeply_is_not_parsed() -> None:
    with pytest.raises(PayloadError, match="deeper than 64 levels"):
        parse_payload(b'{"kind":"device","x":' + b"[" * 64 + b"]" * 64 + b"}")
    assert parse_payload(b"[" * 64 + b"]" * 64)


def test_a_payload_of_too_many_readings_is_a_problem() -> None:
    found = problem({"entries": [{"hr": 60}] * 10_001}, HEART_RATE, head=SELECT)
    assert "more than 10000 readings" in found.text
