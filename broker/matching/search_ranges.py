"""The range of scores, in an index by date, that the resources that pass a filter lie in. Pure.

A score is the first millisecond of a date. Dates that are longer than the width of an index have entries of
their own, which are candidates of every filter.
"""

from typing import NamedTuple

from broker.matching.dates import date_interval
from broker.matching.search_terms import MIN_DATE, NO_DATE, moment_of
from broker.matching.values import BadValue, split, split_prefix
from broker.model.search import Comparator, Filter


class ScoreRange(NamedTuple):
    """Scores from the lowest to the highest, both included."""

    low: int = MIN_DATE
    high: int = NO_DATE

    @property
    def is_whole(self) -> bool:
        return self.low <= MIN_DATE and self.high >= NO_DATE

    def both(self, other: "ScoreRange") -> "ScoreRange":
        """What lies in both; empty where `low` is above `high`."""
        return ScoreRange(max(self.low, other.low), min(self.high, other.high))

    def hull(self, other: "ScoreRange") -> "ScoreRange":
        """All that lies in either, and what is between."""
        return ScoreRange(min(self.low, other.low), max(self.high, other.high))


WHOLE = ScoreRange()
DATED = ScoreRange(MIN_DATE, NO_DATE - 1)


def filter_range(filter_: Filter, width_ms: int) -> ScoreRange:
    """The scores of the resources that pass a filter by date and whose dates are at most `width_ms` long.
    Raises `BadValue`.
    """
    if filter_.modifier is not None:
        return WHOLE
    ranges = [_range(text, filter_.comparator, width_ms) for text in split(filter_.value, ",")]
    whole = ranges[0]
    for each in ranges[1:]:
        whole = whole.hull(each)
    return whole


def _range(text: str, explicit: Comparator | None, width_ms: int) -> ScoreRange:
    comparator, value = split_prefix(text)
    if explicit is not None:
        if value != text:
            raise BadValue("it has two comparators: one of the filter and one before the value")
        comparator = explicit
    searched = date_interval(value)
    # the bounds are rounded down, as scores are
    low, high = moment_of(searched.low), moment_of(searched.high)
    match comparator:
        case Comparator.EQ:
            return DATED.both(ScoreRange(low, high))
        case Comparator.GT:
            return DATED.both(ScoreRange(low=high - width_ms))
        case Comparator.GE:
            return DATED.both(ScoreRange(low=min(low, high - width_ms)))
        case Comparator.SA:
            return DATED.both(ScoreRange(low=high))
        case Comparator.LT | Comparator.EB:
            return DATED.both(ScoreRange(high=low))
        case Comparator.LE:
            return DATED.both(ScoreRange(high=high))
        case _:  # ne leaves nearly everything, and what ap leaves depends on the moment
            return DATED
