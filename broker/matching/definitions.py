"""Which search parameter the name of a filter means in a topic (R-060, R-063).

A topic may give a standard parameter a name of its own: if the definition of the filter is the canonical of a
known SearchParameter for the type, the filter means that parameter. Otherwise the name is the code of the
parameter.
"""

import re
from collections.abc import Iterator

from broker.fhir.conversion import can_convert
from broker.model.release import Release
from broker.model.search import ParameterTable, SearchParameter
from broker.model.topic import FilterDefinition, Topic

ANY_TYPE = "Resource"
"""As the resource type of a trigger or filter, this stands for every type (R-020)."""

_CANONICAL = re.compile(
    r"http://hl7\.org/fhir/(?:[0-9.]+/)?SearchParameter/([A-Za-z]+)-([A-Za-z0-9_-]+)(?:\|.*)?"
)
_FAMILIES = frozenset({"clinical", "individual", "conformance", "medications", "canonical"})
"""The prefixes, instead of a type, of the canonicals of parameters that several types share."""


def offers_of(topic: Topic, name: str, resource_type: str) -> list[FilterDefinition]:
    """The filter definitions of that name that apply to the type."""
    return [
        definition
        for definition in topic.filters
        if definition.parameter == name and is_for(definition, resource_type)
    ]


def is_for(definition: FilterDefinition, resource_type: str) -> bool:
    return definition.resource in {None, ANY_TYPE, resource_type}


def find_parameter(
    parameters: ParameterTable, release: Release, resource_type: str, name: str, topic: Topic
) -> SearchParameter | None:
    """The parameter that the name means in one release; None if that release has none."""
    for offer in offers_of(topic, name, resource_type):
        for code in _defined_codes(offer.definition, resource_type):
            parameter = parameters.find(release, resource_type, code)
            if parameter is not None:
                return parameter
    return parameters.find(release, resource_type, name)


def find_in_any(
    parameters: ParameterTable, preferred: Release, resource_type: str, name: str, topic: Topic
) -> SearchParameter | None:
    """The parameter in the preferred release, the subscriber's.

    Resources of a type that does not convert are seen in the release that they came in by: then a parameter
    of any release will do.
    """
    others = (release for release in Release if not can_convert(resource_type, release, preferred))
    for release in (preferred, *others):
        parameter = find_parameter(parameters, release, resource_type, name, topic)
        if parameter is not None:
            return parameter
    return None


def _defined_codes(definition: str | None, resource_type: str) -> Iterator[str]:
    """The codes that a definition may mean. The canonicals of `_id` and the like have no underscore."""
    canonical = _CANONICAL.fullmatch(definition or "")
    if canonical is None:
        return
    base, code = canonical.groups()
    if base == resource_type or base in _FAMILIES:
        yield code
    elif base in {"Resource", "DomainResource"}:
        yield f"_{code}"
