"""How a search of stored resources finds its candidates: the ways there are, and the cheapest. Pure.

Every way names all resources that may match, so each of them is right, and the filters decide (decision 291).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from broker.matching.context import SearchContext
from broker.matching.search_ranges import WHOLE, ScoreRange, filter_range
from broker.matching.search_terms import (
    DAY_MS,
    NO_DATE,
    IndexDefinition,
    SetKind,
    filter_combinations,
    filter_values,
    has_same_meaning,
    index_parameter,
    set_name,
)
from broker.model.release import Release
from broker.model.search import Filter, ParameterType

MAX_SORTED = 10_000
"""Candidates that a page reads in order to sort them."""


class Order(StrEnum):
    """What the matches, or the members of sets, are ordered by: the moment of the version or the date."""

    MOMENT = "_lastUpdated"
    DATE = "date"


def place(score: int, *, is_descending: bool) -> int:
    """The place of a score in its order: a resource without a date comes last in both directions."""
    return -NO_DATE if is_descending and score == NO_DATE else score


class SecondKey(NamedTuple):
    """What orders the resources of which the first key is equal. `is_opposite`: not in the direction of the
    first, which is that of the page.
    """

    order: Order
    is_descending: bool
    is_opposite: bool

    def place(self, score: int) -> int:
        """The place of a score, in the direction of the page."""
        own = place(score, is_descending=self.is_descending)
        return -own if self.is_opposite else own


class IndexSet(NamedTuple):
    """A part of a sorted set of each partition: its name within tenant and type, and the scores in it."""

    name: str
    range: ScoreRange


class Way(NamedTuple):
    """Sets in one order that together have every resource that may match."""

    order: Order
    sets: tuple[IndexSet, ...]


class Plan(NamedTuple):
    """The way to go; `is_sorted` if its order is not that of the result, so that it is read whole first."""

    way: Way
    is_sorted: bool


@dataclass(frozen=True, slots=True)
class IndexedType:
    """A type as one base searches it, with the indexes that are complete."""

    resource_type: str
    release: Release
    definitions: Sequence[IndexDefinition]
    context: SearchContext


class _Limits(NamedTuple):
    """What the filters say about the indexes: ranges of moments and dates, and the values that an indexed
    parameter must have one of.
    """

    moments: ScoreRange
    dates: ScoreRange
    values: Mapping[str, frozenset[str]]


def ways(searched: IndexedType, filters: Sequence[Filter]) -> list[Way]:
    """The ways to find what passes all filters. There is always one. Raises `BadFilter` or `BadValue`.

    A parameter that means different elements in different releases gives none.
    """
    limits = _limits(searched, filters)
    found = [Way(Order.MOMENT, (IndexSet(SetKind.MOMENT.value, limits.moments),))]
    if has_date_order(searched):
        short = IndexSet(SetKind.DATE.value, limits.dates)
        found.append(Way(Order.DATE, (short, IndexSet(SetKind.LONG_DATE.value, _of_long(limits.dates)))))
    for definition in searched.definitions:
        if not limits.values.keys() >= set(definition.parameters):
            continue
        combinations = filter_combinations([limits.values[code] for code in definition.parameters])
        if combinations is None:
            continue
        kinds = [(SetKind.MOMENT, limits.moments)]
        if definition.is_by_date:
            kinds = [(SetKind.DATE, limits.dates), (SetKind.LONG_DATE, _of_long(limits.dates))]
        sets = (
            IndexSet(set_name(kind, definition, each), scores)
            for kind, scores in kinds
            for each in combinations
        )
        found.append(Way(Order.DATE if definition.is_by_date else Order.MOMENT, tuple(sets)))
    return found


def _limits(searched: IndexedType, filters: Sequence[Filter]) -> _Limits:
    moments = dates = WHOLE
    values: dict[str, frozenset[str]] = {}
    for filter_ in filters:
        if filter_.parameter == "_lastUpdated":
            moments = moments.both(filter_range(filter_, 1))
        elif filter_.parameter == "date" and has_date_order(searched):
            dates = dates.both(filter_range(filter_, DAY_MS))
        else:
            named = _values(searched, filter_)
            if named is not None:
                code, texts = named
                # of two filters by one parameter each is right; the one with fewer values finds less
                if code not in values or len(texts) < len(values[code]):
                    values[code] = texts
    return _Limits(moments, dates, values)


def choose(found: Sequence[Way], sizes: Mapping[Way, int], order: Order, count: int) -> Plan:
    """The way that reads the fewest candidates for a page; `sizes` has how many each way has. One of the ways
    has the order.
    """
    fewest = min(sizes[way] for way in found)
    plans: list[tuple[int, Plan]] = []
    for way in found:
        size = sizes[way]
        if way.order is order:
            # matches are at most `fewest`; if they are spread evenly, so much is read to find `count`
            cost = size * min(count, fewest) // max(1, fewest)
            plans.append((cost, Plan(way, is_sorted=False)))
        elif size <= MAX_SORTED:
            plans.append((size, Plan(way, is_sorted=True)))
    return min(plans, key=lambda plan: plan[0])[1]


def has_date_order(searched: IndexedType) -> bool:
    """Whether the type has a date that it can be sorted by."""
    parameter = searched.context.parameters.find(searched.release, searched.resource_type, "date")
    return (
        parameter is not None
        and parameter.type is ParameterType.DATE
        and has_same_meaning(searched.resource_type, "date", searched.context)
    )


def _of_long(dates: ScoreRange) -> ScoreRange:
    """A long date may have begun at any time before."""
    return dates._replace(low=WHOLE.low)


def _values(searched: IndexedType, filter_: Filter) -> tuple[str, frozenset[str]] | None:
    """The indexed parameter that serves a filter, and the values that it names there."""
    context, resource_type = searched.context, searched.resource_type
    indexed = {code for definition in searched.definitions for code in definition.parameters}
    code = index_parameter(resource_type, searched.release, filter_.parameter, indexed, context)
    parameter = context.parameters.find(searched.release, resource_type, filter_.parameter)
    if code is None or parameter is None or not has_same_meaning(resource_type, code, context):
        return None
    texts = filter_values(filter_, parameter, context)
    return None if texts is None else (code, texts)
