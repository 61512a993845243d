"""Which codes a filter or query may name in a release, and in which release a query is judged.

A code parameter with a required value set has `codes`: another code never matches. Registration and
`topics check` refuse such codes; `triggers` finds the release whose words a query uses.
"""

from broker.errors import BrokerError
from broker.fhir.conversion import can_convert
from broker.matching.context import SearchContext
from broker.matching.criteria import query_terms
from broker.matching.filters import compile_filter
from broker.matching.tokens import parse_token
from broker.matching.values import split
from broker.model.release import Release
from broker.model.search import Filter, Modifier, SearchParameter
from broker.model.topic import QueryCriteria


def foreign_codes(filter_: Filter, parameter: SearchParameter) -> list[str]:
    """The alternatives of the filter that are no codes of the parameter. Raises BadValue."""
    if not parameter.codes or filter_.modifier not in {None, Modifier.NOT}:
        return []
    return [text for text in split(filter_.value, ",") if parse_token(text).code not in parameter.codes]


def judged_release(
    query: QueryCriteria,
    resource_type: str,
    release: Release,
    topic_release: Release,
    context: SearchContext,
) -> Release:
    """The release in which a query is judged on a resource that came in by `release`.

    That is the release of the resource if the query uses its parameters and codes. Else it is the first
    release whose words it uses and to which the type converts, beginning with the topic's own. A query that
    mixes the words of several releases is judged as the resource came in.
    """
    candidates: list[Release] = [release, topic_release, *Release]
    for candidate in candidates:
        is_reachable = candidate is release or can_convert(resource_type, release, candidate)
        if is_reachable and _uses_words_of(candidate, query, resource_type, context):
            return candidate
    return release


def unknown_codes(query: str, resource_type: str, context: SearchContext) -> list[str]:
    """The codes of a query that no release knows, each as `parameter=code`. Raises BadTopic."""
    unknown: list[str] = []
    for _, filter_ in query_terms(query, resource_type):
        parameters = [
            parameter
            for release in Release
            if (parameter := context.parameters.find(release, resource_type, filter_.parameter)) is not None
        ]
        try:
            foreign = [set(foreign_codes(filter_, parameter)) for parameter in parameters]
        except BrokerError:
            continue  # the compilation gives the reason
        if foreign:
            unknown += [f"{filter_.parameter}={code}" for code in sorted(set.intersection(*foreign))]
    return unknown


def _uses_words_of(
    release: Release, query: QueryCriteria, resource_type: str, context: SearchContext
) -> bool:
    try:
        for text in (query.previous, query.current):
            for _, filter_ in query_terms(text, resource_type) if text is not None else ():
                parameter = context.parameters.find(release, resource_type, filter_.parameter)
                if parameter is None or foreign_codes(filter_, parameter):
                    return False
                compile_filter(filter_, parameter, release, context)
    except BrokerError:
        return False
    return True
