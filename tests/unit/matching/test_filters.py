"""Which resources each filter passes."""

from typing import Any

import pytest

from broker.matching.support import comparators_used
from broker.model.release import Release
from broker.model.search import Comparator
from tests.unit.matching.filter_evaluation import Resources, Table, parse, passes

UCUM = "http://unitsofmeasure.org"


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
