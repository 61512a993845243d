"""Evaluates one filter on one resource, with the value sets of the tests."""

from typing import Any, Protocol

from broker.matching.context import SearchContext
from broker.matching.filters import compile_filter
from broker.matching.valuesets import ValueSetFolder
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
