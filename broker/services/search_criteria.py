"""Criteria of conditional requests on what the broker itself holds: Subscriptions and topics, found by their
search parameters. Producers' resources have `fhir/criteria.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.errors import Issue, Malformed, PreconditionFailed
from broker.fhir.criteria import RESPONSE_PARAMETERS
from broker.services.result_parameters import RESULT_PARAMETERS, Parameters
from broker.services.search import Fields, Search, parse_search

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchCriteria(Generic[T]):
    """At least one search parameter, checked; `text` names them."""

    search: Search[T]
    text: str

    def single(self, candidates: Iterable[T], resource_type: str) -> T | None:
        """The candidate that meets the criteria, or None; raises `PreconditionFailed` for several."""
        matches = [candidate for candidate in candidates if self.search.passes(candidate)]
        if len(matches) > 1:
            text = f"{len(matches)} {resource_type} resources match {self.text}. Send criteria of only one."
            raise PreconditionFailed(Issue("multiple-matches", text))
        return matches[0] if matches else None


def search_criteria(parameters: Parameters, fields: Fields[T]) -> SearchCriteria[T]:
    """Raises `Malformed` naming a parameter that is not supported, `PreconditionFailed` if there are none."""
    terms = sorted((name, value) for name, value in parameters if name not in RESPONSE_PARAMETERS)
    for name, _ in terms:
        if name.partition(":")[0] in RESULT_PARAMETERS:
            text = f"{name} selects nothing, so it is not a criterion. Leave it out."
            raise Malformed(Issue("not-supported", text, name))
    if not terms:
        text = f"There are no criteria. Send one of {', '.join(sorted(fields))}."
        raise PreconditionFailed(Issue("required", text))
    return SearchCriteria(parse_search(terms, fields), "&".join(f"{name}={value}" for name, value in terms))
