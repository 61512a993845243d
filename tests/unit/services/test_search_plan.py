"""Each way to find candidates has every resource that passes the filters; the cheapest way is taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import BrokerError
from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.filters import compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.search_ranges import WHOLE
from broker.matching.search_terms import ResourceIndexer, has_same_meaning, parse_definition
from broker.model.release import Release
from broker.model.search import Filter
from broker.services.search_plan import (
    MAX_SORTED,
    IndexedType,
    IndexSet,
    Order,
    Plan,
    Way,
    choose,
    ways,
)
from tests.unit.matching import drawn

CONTEXT = SearchContext(SearchParameters(), drawn.BASES)
DEFINITIONS = tuple(
    parse_definition(text)
    for text in (
        *("subject+code@date", "subject@date", "code", "status", "category", "identifier"),
        *("device", "performer", "_tag", "_profile", "code+status", "device+code+category@date"),
    )
)
AT_MS, AT = 1_710_057_600_123, "2024-03-10T08:00:00.123Z"


def places(state: dict[str, Any], release: Release) -> dict[str, int]:
    """The sets that a resource is in, each with its score."""
    entries = ResourceIndexer("Observation", release, DEFINITIONS, CONTEXT).entries(state)
    return {name: AT_MS if name[0] == "m" else entries.date for name in entries.sets}


def passes(filter_: Filter, state: dict[str, Any], release: Release) -> bool | None:
    """None for a filter that the broker refuses."""
    parameter = CONTEXT.parameters.find(release, "Observation", filter_.parameter)
    if parameter is None:
        return None
    try:
        return compile_filter(filter_, parameter, release, CONTEXT)(state)
    except EvaluationFailed:
        return False
    except BrokerError:
        return None


@given(
    drawn.resources["Observation"],
    st.lists(drawn.filters, min_size=1, max_size=3),
    st.sampled_from(Release),
)
def test_every_way_has_what_passes(state: dict[str, Any], filters: list[Filter], release: Release) -> None:
    state = state | {"resourceType": "Observation", "id": "a"}
    meta = state.get("meta")
    state["meta"] = (meta if isinstance(meta, dict) else {}) | {"lastUpdated": AT}
    passing = [filter_ for filter_ in filters if passes(filter_, state, release)]
    found = places(state, release)
    for way in ways(IndexedType("Observation", release, DEFINITIONS, CONTEXT), passing):
        assert any(
            part.name in found and part.range.low <= found[part.name] <= part.range.high for part in way.sets
        ), way


def test_a_patient_is_found_by_the_index_of_the_subject_in_the_order_of_dates() -> None:
    searched = IndexedType("Observation", Release.R4, DEFINITIONS[:1], CONTEXT)
    filters = [Filter("patient", "1"), Filter("code", "http://loinc.org|8867-4")]
    found = ways(searched, filters)
    assert [way.order for way in found] == [Order.MOMENT, Order.DATE, Order.DATE]
    state = {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": "2024-03-10T08:00:00Z",
    }
    entries = ResourceIndexer("Observation", Release.R4, DEFINITIONS[:1], CONTEXT).entries(state)
    assert entries.sets[:2] == ("m", "d")
    assert entries.sets[2] in {part.name for part in found[2].sets}


@pytest.mark.parametrize(
    "filter_", [Filter("code", "http://loinc.org|"), Filter("code", "a", modifier="not")]
)
def test_what_names_no_code_uses_no_index_of_codes(filter_: Filter) -> None:
    searched = IndexedType("Observation", Release.R4, DEFINITIONS, CONTEXT)
    assert len(ways(searched, [filter_])) == 2  # all by moment, all by date


@pytest.mark.parametrize(
    "code", ["code", "category", "status", "subject", "device", "encounter", "date", "_tag"]
)
def test_the_usual_parameters_of_readings_mean_the_same_in_each_release(code: str) -> None:
    assert has_same_meaning("Observation", code, CONTEXT)


def way(name: str, order: Order) -> Way:
    return Way(order, (IndexSet(name, WHOLE),))


ALL, BY_DATE, FEW = way("m", Order.MOMENT), way("d", Order.DATE), way("mx", Order.MOMENT)


@pytest.mark.parametrize(
    ("sizes", "order", "expected"),
    [
        pytest.param((1_000_000, 1_000_000, 5), Order.DATE, Plan(FEW, is_sorted=True), id="few to sort"),
        pytest.param((1_000_000, 1_000_000, 5), Order.MOMENT, Plan(FEW, is_sorted=False), id="few in order"),
        pytest.param((9_000, 9_000, 8_000), Order.DATE, Plan(BY_DATE, is_sorted=False), id="most match"),
        pytest.param((9**7, 9**7, MAX_SORTED + 1), Order.DATE, Plan(BY_DATE, is_sorted=False), id="many"),
        pytest.param((0, 0, 0), Order.MOMENT, Plan(ALL, is_sorted=False), id="nothing"),
    ],
)
def test_the_way_that_reads_least_is_taken(sizes: tuple[int, ...], order: Order, expected: Plan) -> None:
    found = [ALL, BY_DATE, FEW]
    assert choose(found, dict(zip(found, sizes, strict=True)), order, 100) == expected
