"""Dates as half-open intervals in microseconds since year 1, UTC, and how they compare (R-400, R-401).

A date stands for the span its precision leaves open; one without an offset is in the server's zone, which is UTC. A Period or
Timing spans from its first to its last moment.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from broker.matching.values import BadValue
from broker.model.search import Comparator

_FAR = 10**24
_MICROSECONDS_A_DAY = 86_400_000_000
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


class Interval(NamedTuple):
    """From `low` up to, not including, `high`."""

    low: int
    high: int


def date_interval(text: str) -> Interval:
    """The span a date stands for by its precision; without an offset it is UTC (R-401)."""
    found = _DATE.fullmatch(
        text.strip().replace(" ", "+")
    )  # a `+` of an offset that a URL decoder took for a blank
    if found is None:
        raise BadValue(f"{text[:40]!r} is no date")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal()
        if day is None:
            past = (int(year), int(month) + 1) if month else (int(year) + 1, 1)
            past = past if past[1] <= 12 else (past[0] + 1, 1)
            end = date(*past, 1).toordinal() if past[0] <= 9999 else date.max.toordinal() + 1
            return Interval(start * _MICROSECONDS_A_DAY, end * _MICROSECONDS_A_DAY)
    except ValueError:
        raise BadValue(f"{text[:40]!r} is no date") from None
    low = start * _MICROSECONDS_A_DAY
    if hour is None:
        return Interval(low, low + _MICROSECONDS_A_DAY)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        raise BadValue(f"{text[:40]!r} is no time")
    low += ((int(hour) * 60 + int(minute)) * 60 + int(second or 0)) * 1_000_000
    width = 60_000_000 if second is None else 1_000_000
    if fraction:
        width = 10 ** max(0, 6 - len(fraction))
        low += int(fraction[:6].ljust(6, "0"))
    if zone and zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60_000_000
        low += offset if zone[0] == "-" else -offset
    return Interval(low, low + width)


def date_span(element: Any) -> Interval | None:
    """The span of a date, dateTime, instant, Period or Timing element; open ends reach far.

    None for an element that names no time (a Timing of frequencies only); BadValue for what is no date.
    """
    if isinstance(element, str):
        return date_interval(element)
    if not isinstance(element, dict):
        raise BadValue("no date")
    if "start" in element or "end" in element:
        low = date_interval(element["start"]).low if "start" in element else -_FAR
        high = date_interval(element["end"]).high if "end" in element else _FAR
        return Interval(low, high)
    spans = [date_interval(one) for one in element.get("event", ()) if one is not None]
    bounds = date_span(element.get("repeat", {}).get("boundsPeriod", {})) if "repeat" in element else None
    spans += [bounds] if bounds else []
    return Interval(min(one.low for one in spans), max(one.high for one in spans)) if spans else None


def microseconds(moment: datetime) -> int:
    """A moment on the scale of `Interval`."""
    since = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return _MICROSECONDS_A_DAY + since // timedelta(microseconds=1)


def compare_dates(
    comparator: Comparator, element: Interval, wanted: Interval, now: int | None = None
) -> bool:
    """R-400, R-401. `now` widens `ap` by a tenth of the gap to it; without it the gap counts as none."""
    is_inside = wanted.low <= element.low and element.high <= wanted.high
    match comparator:
        case Comparator.EQ:
            return is_inside
        case Comparator.NE:
            return not is_inside
        case Comparator.GT:
            return element.high > wanted.high
        case Comparator.LT:
            return element.low < wanted.low
        case Comparator.GE:
            return is_inside or element.high > wanted.high
        case Comparator.LE:
            return is_inside or element.low < wanted.low
        case Comparator.SA:
            return element.low >= wanted.high
        case Comparator.EB:
            return element.high <= wanted.low
    gap = 0 if now is None else abs(now - wanted.low) // 10
    return element.low < wanted.high + gap and element.high > wanted.low - gap
