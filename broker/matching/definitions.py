"""Which search parameter a filter's name means in a topic (R-060, R-063).

A topic may give a standard parameter a name of its own: where its filterDefinition is the canonical of a SearchParameter that
is known for the type, that parameter is meant, whatever the filter is called. Otherwise the name is the parameter's code.
"""

import re
from collections.abc import Iterator

from broker.model.release import Release
from broker.model.search import ParameterTable, SearchParameter
from broker.model.topic import FilterDefinition, Topic

ANY_TYPE = "Resource"
"""As the resource of a trigger or filter it stands for every type (R-020)."""

_CANONICAL = re.compile(
    r"http://hl7\.org/fhir/(?:[0-9.]+/)?SearchParameter/([A-Za-z]+)-([A-Za-z0-9_-]+)(?:\|.*)?"
)
_FAMILIES = frozenset({"clinical", "individual", "conformance", "medications", "canonical"})
"""What the canonical of a parameter shared by several types begins with, instead of a type."""


def offers_of(topic: Topic, name: str, resource_type: str) -> list[FilterDefinition]:
    """The canFilterBy entries of that name that are for the type."""
    return [one for one in topic.filters if one.parameter == name and is_for(one, resource_type)]


def is_for(definition: FilterDefinition, resource_type: str) -> bool:
    return definition.resource in {None, ANY_TYPE, resource_type}


def find_parameter(
    table: ParameterTable, release: Release, resource_type: str, name: str, topic: Topic
) -> SearchParameter | None:
    """The parameter a filter of that name is about in one release; None where that release has none."""
    for offer in offers_of(topic, name, resource_type):
        for code in _defined_codes(offer.definition, resource_type):
            parameter = table.find(release, resource_type, code)
            if parameter is not None:
                return parameter
    return table.find(release, resource_type, name)


def find_in_any(
    table: ParameterTable, release: Release, resource_type: str, name: str, topic: Topic
) -> SearchParameter | None:
    """In the release, else in any that knows it: resources of several releases meet one subscription."""
    for one in (release, *Release):
        parameter = find_parameter(table, one, resource_type, name, topic)
        if parameter is not None:
            return parameter
    return None


def _defined_codes(definition: str | None, resource_type: str) -> Iterator[str]:
    """The codes a filterDefinition may stand for; those of every resource are defined without their underscore."""
    found = _CANONICAL.fullmatch(definition or "")
    if found is None:
        return
    base, code = found.groups()
    if base == resource_type or base in _FAMILIES:
        yield code
    elif base in {"Resource", "DomainResource"}:
        yield f"_{code}"
