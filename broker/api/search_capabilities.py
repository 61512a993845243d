"""What a CapabilityStatement says of the searches of stored resources."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from broker.fhir.capabilities import SearchCapability
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.search_parameter_urls import search_parameter_url
from broker.fhir.search_parameters import EVERY_RESOURCE, SearchParameters
from broker.matching.support import unsupported
from broker.model.release import Release
from broker.model.search import Filter, ParameterType


class SearchCapabilities(NamedTuple):
    """By resource type: the search parameters, and those that `_include` follows."""

    searches: Mapping[str, Sequence[SearchCapability]]
    includes: Mapping[str, Sequence[str]]


def stored_searches(release: Release, is_searched: Callable[[str], bool]) -> SearchCapabilities:
    """Those of the types that can be searched."""
    every = _of_every_type(release)
    searches = {name: found for name, found in every.searches.items() if is_searched(name)}
    return SearchCapabilities(searches, {name: every.includes.get(name, ()) for name in searches})


@cache
def _of_every_type(release: Release) -> SearchCapabilities:
    by_type = {
        name: [each for each in parameters if unsupported(Filter(each.code, ""), each) is None]
        for name, parameters in SearchParameters().all(release).items()
    }
    of_all = by_type.pop(EVERY_RESOURCE)
    searches = {
        name: [
            # the definitions of others may be shared with other types, under a URL of its own
            SearchCapability(
                each.code,
                str(each.type),
                search_parameter_url(release, name, each.code) if each in of_all else "",
            )
            for each in [*of_all, *by_type.get(name, ())]
        ]
        for name in RESOURCE_TYPES[release]
    }
    includes = {
        name: [each.code for each in parameters if each.type is ParameterType.REFERENCE]
        for name, parameters in by_type.items()
    }
    return SearchCapabilities(searches, includes)
