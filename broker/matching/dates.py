"""Dates as half-open intervals in microseconds since year 1, UTC, and their comparison (R-400, R-401).

A date covers the interval that its precision leaves open. A date without an offset is in the server's time
zone, UTC. A Period or Timing covers the interval from its first to its last moment.
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
    """The interval that a date covers by its precision (R-401). Raises BadValue."""
    text_with_plus = text.strip().replace(" ", "+")  # URL decoding turns the `+` of an offset into a blank
    parts = _DATE.fullmatch(text_with_plus)
    if parts is None:
        raise BadValue(f"{text[:40]!r} is not a date")
    year, month, day, hour, minute, second, fraction, zone = parts.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal()
        if day is None:
            following = (int(year), int(month) + 1) if month else (int(year) + 1, 1)
            following = following if following[1] <= 12 else (following[0] + 1, 1)
            end = date(*following, 1).toordinal() if following[0] <= 9999 else date.max.toordinal() + 1
            return Interval(start * _MICROSECONDS_A_DAY, end * _MICROSECONDS_A_DAY)
    except ValueError:
        raise BadValue(f"{text[:40]!r} is not a date") from None
    low = start * _MICROSECONDS_A_DAY
    if hour is None:
        return Interval(low, low + _MICROSECONDS_A_DAY)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        raise BadValue(f"{text[:40]!r} is not a valid time")
    seconds = min(int(second or 0), 59)  # a leap second is part of its minute, so of its day
    low += ((int(hour) * 60 + int(minute)) * 60 + seconds) * 1_000_000
    width = 60_000_000 if second is None else 1_000_000
    if fraction:
        width = 10 ** max(0, 6 - len(fraction))
        low += int(fraction[:6].ljust(6, "0"))
    if zone and zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60_000_000
        low += offset if zone[0] == "-" else -offset
    return Interval(low, low + width)


def date_span(element: Any) -> Interval | None:
    """The interval of a date, dateTime, instant, Period or Timing element. An open end is far in the past or
    future.

    None for an element without a time (a Timing with frequencies only). Raises BadValue for anything but a
    date.
    """
    if isinstance(element, str):
        return date_interval(element)
    if not isinstance(element, dict):
        raise BadValue("the element is not a date")
    if "start" in element or "end" in element:
        low = date_interval(element["start"]).low if "start" in element else -_FAR
        high = date_interval(element["end"]).high if "end" in element else _FAR
        return Interval(low, high)
    spans = [date_interval(event) for event in element.get("event", ()) if event is not None]
    bounds = date_span(element.get("repeat", {}).get("boundsPeriod", {})) if "repeat" in element else None
    spans += [bounds] if bounds else []
    return Interval(min(span.low for span in spans), max(span.high for span in spans)) if spans else None


def microseconds(moment: datetime) -> int:
    """A moment on the scale of `Interval`."""
    since = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return _MICROSECONDS_A_DAY + since // timedelta(microseconds=1)


def compare_dates(
    comparator: Comparator, element: Interval, searched: Interval, now: int | None = None
) -> bool:
    """R-400, R-401. For `ap`, the searched interval is widened by a tenth of its distance to `now`, if that
    is given.
    """
    is_inside = searched.low <= element.low and element.high <= searched.high
    match comparator:
        case Comparator.EQ:
            return is_inside
        case Comparator.NE:
            return not is_inside
        case Comparator.GT:
            return element.high > searched.high
        case Comparator.LT:
            return element.low < searched.low
        case Comparator.GE:
            return is_inside or element.high > searched.high
        case Comparator.LE:
            return is_inside or element.low < searched.low
        case Comparator.SA:
            return element.low >= searched.high
        case Comparator.EB:
            return element.high <= searched.low
    gap = 0 if now is None else abs(now - searched.low) // 10
    return element.low < searched.high + gap and element.high > searched.low - gap
