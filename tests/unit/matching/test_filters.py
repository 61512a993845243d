"""Which resources each filter passes."""

from typing import Any, Protocol

import pytest

from broker.matching.context import SearchContext
from broker.matching.filters import compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.support import comparators_used, unsupported
from broker.matching.values import BadFilter, BadValue
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.release import Release
from broker.model.search import Comparator, Filter, SearchParameter

Resources = dict[str, dict[str, Any]]
BASES = frozenset({"http://broker.example/r4"})
LOINC = "http://loinc.org"
VALUE_SETS = ValueSetFolder(
    codes={
        "http://sets/pressure": frozenset({(LOINC, "85354-9"), (LOINC, "8480-6")}),
        "http://sets/heart": frozenset({(LOINC, "8867-4")}),
        "http://sets/other": frozenset({("http://other", "85354-9")}),
        "http://sets/final": frozenset({("http://hl7.org/fhir/observation-status", "final")}),
    },
    ancestors_by_code={
        LOINC: {
            "85354-9": frozenset({"85354-9", "vitals"}),
            "8480-6": frozenset({"8480-6", "85354-9", "vitals"}),
            "vitals": frozenset({"vitals"}),
        }
    },
)
UCUM = "http://unitsofmeasure.org"


class Table(Protocol):
    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None: ...


def parse(term: str) -> Filter:
    name, _, value = term.partition("=")
    code, colon, modifier = name.partition(":")
    return Filter(code, value, modifier=modifier if colon else None)


def passes(table: Table, resource: dict[str, Any], term: str, comparator: Comparator | None = None) -> bool:
    filter_ = parse(term)
    if comparator is not None:
        filter_ = Filter(filter_.parameter, filter_.value, comparator=comparator)
    parameter = table.find(Release.R4, resource["resourceType"], filter_.parameter)
    assert parameter is not None
    return compile_filter(filter_, parameter, Release.R4, SearchContext(table, BASES, VALUE_SETS))(resource)


PASSING = [
    ("pressure", "code=85354-9"),
    ("pressure", "code=http://loinc.org|85354-9"),
    ("pressure", "code=http://loinc.org|"),
    ("pressure", "code=1,85354-9"),
    ("pressure", "code:not=1,2"),
    ("pressure", "code:text=blood"),
    ("pressure", "code:code-text=BLOOD PR"),
    ("pressure", "code:in=http://sets/pressure"),
    ("pressure", "code:in=http://sets/heart,http://sets/pressure"),
    ("pressure", "code:not-in=http://sets/heart"),
    ("pressure", "code:not-in=http://sets/other"),
    ("temperature", "category:not-in=http://sets/heart"),
    ("pressure", "status:in=http://sets/final"),
    ("pressure", "code:below=http://loinc.org|vitals"),
    ("pressure", "code:below=http://loinc.org|85354-9"),
    ("pressure", "code:above=http://loinc.org|8480-6"),
    ("pressure", "component-code:below=http://loinc.org|85354-9"),
    ("pressure", "category=|vital-signs"),
    ("pressure", "status=final"),
    ("pressure", "status=http://hl7.org/fhir/observation-status|final"),
    ("pressure", "identifier=urn:gateway|17"),
    ("pressure", "identifier:of-type=http://t|SNO|17"),
    ("pressure", "identifier:text=serial"),
    ("pressure", "value-quantity:missing=true"),
    ("pressure", "component-value-quantity=gt140"),
    ("pressure", f"component-value-quantity=lt12.2|{UCUM}|kPa,gt18.9|{UCUM}|kPa"),
    ("pressure", "combo-code-value-quantity=8480-6$gt140"),
    ("pressure", "combo-code-value-quantity=http://loinc.org|8462-4$gt90||mm[Hg]"),
    ("pressure", "patient=1"),
    ("pressure", "patient=Patient/1"),
    ("pressure", "patient=http://broker.example/r4/Patient/1"),
    ("pressure", "subject:Patient=1"),
    ("pressure", "subject:type=Patient/1"),
    ("pressure", "subject:identifier=P1"),
    ("pressure", "subject:text=ana nu"),
    ("pressure", "device=Device/9"),
    ("pressure", "date=2024-03-10"),
    ("pressure", "date=ge2024-03-10T07:59:30Z"),
    ("pressure", "date=ap2024-03-10T07:30:00Z,ap2024-03-10"),
    ("pressure", "_id=pressure"),
    ("pressure", "_lastUpdated=ge2024-03-10"),
    ("pressure", "_tag=http://example.org/tags|ward-3"),
    ("pressure", "_profile=http://example.org/pressure"),
    ("pressure", "_profile=http://example.org/pressure|2.0"),
    ("pressure", "_source:below=http://gateway.example/ward"),
    ("pressure", "_source:above=http://gateway.example/ward/3/bed/1"),
    ("pressure", "_security=http://example.org/labels|R"),
    ("pressure", "_language=en"),
    ("temperature", "patient:missing=true"),
    ("temperature", "category:not=vital-signs"),
    ("temperature", "value-quantity=gt99||[degF]"),
    ("temperature", "value-quantity=38"),
    ("temperature", "date=2024-03-11"),
    ("temperature", "date=sa2024-03-10"),
    ("patient", "active=true"),
    ("patient", "deceased=true"),
    ("patient", "name=nunez"),
    ("patient", "name=ANI"),
    ("patient", "name:contains=arí"),
    ("patient", "family:exact=Núñez"),
    ("patient", "phone=555-1"),
    ("patient", "birthdate=1980"),
    ("patient", "death-date=ge2024-01-01"),
    ("encounter", "class=AMB"),
    ("encounter", f"length=ge1.5|{UCUM}|h"),
    ("encounter", "date=gt2024-06"),
    ("risk", "probability=gt0.2"),
    ("risk", "probability=0.25"),
]
FAILING = [
    ("pressure", "code=85354"),
    ("pressure", "code=http://other|85354-9"),
    ("pressure", "code=|85354-9"),
    ("pressure", "code:not=85354-9"),
    ("pressure", "code:in=http://sets/heart"),
    ("pressure", "code:in=http://sets/other"),
    ("pressure", "code:not-in=http://sets/heart,http://sets/pressure"),
    ("pressure", "component-code:not-in=http://sets/pressure"),
    ("temperature", "category:in=http://sets/heart"),
    ("pressure", "status:not-in=http://sets/final"),
    ("pressure", "code:below=http://loinc.org|8480-6"),
    ("pressure", "code:above=http://loinc.org|vitals"),
    ("temperature", "code:below=http://loinc.org|vitals"),
    ("pressure", "code:text=pressure"),
    ("pressure", "status=FINAL"),
    ("pressure", "identifier=urn:other|17"),
    ("pressure", "identifier:of-type=http://t|MR|17"),
    ("pressure", "value-quantity=gt0"),
    ("pressure", "component-value-quantity=gt142"),
    ("pressure", "combo-code-value-quantity=8480-6$lt100"),
    ("pressure", "combo-code-value-quantity=8462-4$gt140"),
    ("pressure", "patient=2"),
    ("pressure", "patient=http://other.example/r4/Patient/1"),
    ("pressure", "subject:Group=1"),
    ("pressure", "date=2024-03-09"),
    ("pressure", "_source=http://gateway.example/ward"),
    ("pressure", "_source:below=http://gateway.example/war"),
    ("temperature", "patient:missing=false"),
    ("temperature", "category=vital-signs"),
    ("temperature", "value-quantity=37"),
    ("temperature", "value-quantity=gt1||mg"),
    ("temperature", "date=2024-03-10"),
    ("patient", "name=aria"),
    ("patient", "family:exact=nunez"),
    ("patient", "phone=a@example.org"),
    ("patient", "birthdate=1980-05-01"),
    ("encounter", "date=2024"),
    ("risk", "probability=0.24"),
]


@pytest.mark.parametrize(("name", "term"), PASSING)
def test_a_filter_passes(name: str, term: str, table: Table, resources: Resources) -> None:
    assert passes(table, resources[name], term)


@pytest.mark.parametrize(("name", "term"), FAILING)
def test_a_filter_fails(name: str, term: str, table: Table, resources: Resources) -> None:
    assert not passes(table, resources[name], term)


@pytest.mark.parametrize(
    ("comparator", "expected"),
    [("eq", True), ("ne", False), ("gt", False), ("ge", True), ("lt", False), ("le", True)],
)
def test_a_separate_comparator_means_the_same_as_a_prefix(
    *, comparator: str, expected: bool, table: Table, resources: Resources
) -> None:
    resource = resources["temperature"]
    assert passes(table, resource, "value-quantity=37.5", Comparator(comparator)) is expected
    assert passes(table, resource, f"value-quantity={comparator}37.5") is expected


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
    ("term", "used"),
    [
        ("value-quantity=gt5,6", {"gt", "eq"}),
        ("combo-code-value-quantity=ge$le5", {"eq", "le"}),
        ("code=gt5", {"eq"}),
        ("date=sa2024", {"eq", "sa"}),
    ],
)
def test_prefixes_within_a_value_count_as_comparators(term: str, used: set[str], table: Table) -> None:
    filter_ = parse(term)
    parameter = table.find(Release.R4, "Observation", filter_.parameter)
    assert parameter is not None
    assert comparators_used(filter_, parameter) | {Comparator.EQ} == used


def test_every_resource_takes_missing_or_not_missing(table: Table, resources: Resources) -> None:
    for code in ("code", "value-quantity", "date", "subject", "device", "identifier"):
        for name in ("pressure", "temperature"):
            is_missing = passes(table, resources[name], f"{code}:missing=true")
            assert passes(table, resources[name], f"{code}:missing=false") is not is_missing


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


@pytest.mark.parametrize("term", ["value-quantity=gt0", "value-quantity=ne5", "value-quantity=5||mV"])
def test_sampled_data_never_matches(term: str, table: Table) -> None:
    sampled = {"origin": {"value": 2048}, "period": 10, "dimensions": 1, "lowerLimit": 1, "data": "1 2 E"}
    resource = {"resourceType": "Observation", "valueSampledData": sampled}
    assert not passes(table, resource, term)
    assert passes(table, resource, "value-quantity:missing=false")


@pytest.mark.parametrize(
    ("effective", "term", "expected"),
    [
        ({"effectiveDateTime": "2024-03"}, "date=2024", True),
        ({"effectiveDateTime": "2024-03"}, "date=2024-03-10", False),
        ({"effectiveDateTime": "2024-03"}, "date=gt2024-03-10", True),
        ({"effectiveDateTime": "2024-03-10T23:30:00-02:00"}, "date=2024-03-11T01:30:00Z", True),
        ({"effectiveDateTime": "2024-03-10T23:30:00-02:00"}, "date=2024-03-10", False),
        ({"effectiveInstant": "2024-03-10T10:00:00.000Z"}, "date=2024-03-10T10:00", True),
        ({"effectivePeriod": {"start": "2024-03-10"}}, "date=sa2024-03-09", True),
        ({"effectivePeriod": {"start": "2024-03-10"}}, "date=eb2999", False),
        ({"effectiveTiming": {"event": ["2024-03-10", "2024-03-12"]}}, "date=2024-03", True),
        ({"effectiveTiming": {"event": ["2024-03-10", "2024-03-12"]}}, "date=2024-03-11", False),
        ({"effectiveTiming": {"repeat": {"frequency": 2}}}, "date=ne2024", False),
    ],
)
def test_dates_of_every_kind_compare_by_precision_in_utc(
    *, effective: dict[str, Any], term: str, expected: bool, table: Table
) -> None:
    assert passes(table, {"resourceType": "Observation", **effective}, term) is expected


@pytest.mark.parametrize(
    ("subject", "term", "expected"),
    [
        ({"identifier": {"system": "urn:mrn", "value": "7"}}, "patient:identifier=urn:mrn|7", True),
        ({"identifier": {"system": "urn:mrn", "value": "7"}}, "subject:identifier=7", True),
        ({"identifier": {"system": "urn:mrn", "value": "7"}}, "patient:identifier=urn:mrn|8", False),
        ({"identifier": {"value": "7"}, "type": "Patient"}, "patient:identifier=7", True),
        ({"identifier": {"value": "7"}, "type": "Group"}, "patient:identifier=7", False),
        ({"identifier": {"value": "7"}, "reference": "Group/1"}, "patient:identifier=7", False),
        ({"identifier": {"value": "7"}, "reference": "Patient/1"}, "patient:identifier=7", True),
        ({"display": "Ana"}, "patient:identifier=7", False),
    ],
)
def test_an_identifier_finds_a_reference_that_does_not_say_its_type(
    subject: dict[str, Any], term: str, expected: bool, table: Table
) -> None:
    observation = {"resourceType": "Observation", "subject": subject}
    assert passes(table, observation, term) is expected


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
