"""Which filters are refused, and what fails instead of passing."""

from typing import Any

import pytest

from broker.matching.context import SearchContext
from broker.matching.filters import compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.support import unsupported
from broker.matching.values import BadFilter, BadValue
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.release import Release
from broker.model.search import Comparator, Filter
from tests.unit.matching.filter_evaluation import VALUE_SETS, Resources, Table, parse, passes


@pytest.mark.parametrize(
    ("kind", "filter_"),
    [
        ("Observation", Filter("subject", "x", modifier="in")),
        ("Observation", Filter("subject", "x", modifier="below")),
        ("Observation", Filter("subject", "x", modifier="not")),
        ("Observation", Filter("status", "x", modifier="identifier")),
        ("Observation", Filter("date", "2024", modifier="not")),
        ("Observation", Filter("_source", "x", modifier="exact")),
        ("Observation", Filter("code", "x", modifier="text-advanced")),
        ("Observation", Filter("code", "x", modifier="iterate")),
        ("Observation", Filter("code", "x", modifier="nonsense")),
        ("Observation", Filter("code", "x", modifier="exact")),
        ("Observation", Filter("code", "x", comparator=Comparator.GT)),
        ("Observation", Filter("value-quantity", "5", comparator=Comparator.GT, modifier="missing")),
        ("Observation", Filter("subject", "1", modifier="Encounter")),
        ("Observation", Filter("subject", "1", modifier="iterate")),
        ("Observation", Filter("combo-code-value-quantity", "true", modifier="missing")),
        ("Observation", Filter("_in", "Group/1")),
        ("Observation", Filter("_content", "x")),
        ("Patient", Filter("phonetic", "x")),
    ],
)
def test_a_filter_that_cannot_be_evaluated_exactly_is_refused(
    kind: str, filter_: Filter, table: Table
) -> None:
    parameter = table.find(Release.R4, kind, filter_.parameter)
    assert parameter is not None
    assert unsupported(filter_, parameter)
    with pytest.raises(BadFilter):
        compile_filter(filter_, parameter, Release.R4, SearchContext(table))


@pytest.mark.parametrize(
    ("kind", "filter_"),
    [
        ("Observation", Filter("code", "")),
        ("Observation", Filter("code", "a,,b")),
        ("Observation", Filter("code", "a|b|c")),
        ("Observation", Filter("code", "yes", modifier="missing")),
        ("Observation", Filter("value-quantity", "abc")),
        ("Observation", Filter("value-quantity", "5|mg")),
        ("Observation", Filter("value-quantity", "le5", comparator=Comparator.GE)),
        ("Observation", Filter("subject", "1")),
        ("Observation", Filter("patient", "Group/1")),
        ("Observation", Filter("date", "soon")),
        ("Observation", Filter("combo-code-value-quantity", "8480-6")),
        ("Observation", Filter("identifier", "a|b", modifier="of-type")),
        ("Observation", Filter("code", "85354-9", modifier="below")),
        ("Observation", Filter("code", "http://loinc.org|", modifier="above")),
    ],
)
def test_a_value_that_is_invalid_for_the_parameter_is_refused(
    kind: str, filter_: Filter, table: Table
) -> None:
    parameter = table.find(Release.R4, kind, filter_.parameter)
    assert parameter is not None
    with pytest.raises(BadValue):
        compile_filter(filter_, parameter, Release.R4, SearchContext(table))


@pytest.mark.parametrize(
    ("term", "broken"),
    [
        ("value-quantity=gt5", {"valueQuantity": {"value": "much"}}),
        ("date=2024", {"effectiveDateTime": "soon"}),
        ("code=a", {"code": {"coding": "a"}}),
        ("code:not=a", {"code": {"coding": "a"}}),
    ],
)
def test_bad_data_fails_instead_of_passing(term: str, broken: dict[str, Any], table: Table) -> None:
    with pytest.raises(EvaluationFailed):
        passes(table, {"resourceType": "Observation", **broken}, term)


@pytest.mark.parametrize(
    ("filter_", "named"),
    [
        (Filter("code", "http://sets/unheard", modifier="in"), "http://sets/unheard"),
        (Filter("code", "http://sets/heart,http://sets/unheard", modifier="not-in"), "http://sets/unheard"),
        (Filter("code", "http://loinc.org|unheard", modifier="below"), "unheard"),
        (Filter("code", "http://snomed.info/sct|1", modifier="above"), "http://snomed.info/sct"),
    ],
)
def test_unknown_codes_are_refused_by_name(filter_: Filter, named: str, table: Table) -> None:
    parameter = table.find(Release.R4, "Observation", filter_.parameter)
    assert parameter is not None
    with pytest.raises(BadFilter, match=named):
        compile_filter(filter_, parameter, Release.R4, SearchContext(table, value_sets=VALUE_SETS))


def test_a_value_set_that_is_no_longer_loaded_fails_instead_of_passing(
    table: Table, resources: Resources
) -> None:
    parameter = table.find(Release.R4, "Observation", "code")
    assert parameter is not None
    current = CurrentValueSets()
    current.contents = VALUE_SETS
    tests = [
        compile_filter(parse(term), parameter, Release.R4, SearchContext(table, value_sets=current))
        for term in ("code:not-in=http://sets/heart", "code:below=http://loinc.org|vitals")
    ]
    assert all(test(resources["pressure"]) for test in tests)
    current.contents = ValueSetFolder()
    for test in tests:
        with pytest.raises(EvaluationFailed, match="no longer loaded"):
            test(resources["pressure"])


@pytest.mark.parametrize(
    "term",
    [
        "code=8867-4 ",
        "code= http://loinc.org|8867-4",
        "code=a,b ",
        "code:not=a ",
        "identifier:of-type=http://t|SNO|17 ",
        "subject:identifier=7 ",
        "value-quantity=5||mg ",
        "_profile=http://example.org/p ",
        "_profile:below= http://example.org/p",
        "combo-code-value-quantity=8480-6 $5",
    ],
)
def test_a_value_with_a_blank_at_its_end_is_refused(term: str, table: Table) -> None:
    with pytest.raises(BadValue, match="blank"):
        passes(table, {"resourceType": "Observation"}, term)
