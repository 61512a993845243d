"""Judges the time of a reading: corrects a clock that is known to be wrong, and finds implausible times."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
"""Clocks without a battery start at 1970, 1980 or 2000-01-01; no device of today measured before."""
_RESET = timedelta(days=1)


class ReadingTime(NamedTuple):
    """When the reading was taken. `device_time` is what the device's clock showed, if that was corrected.

    `doubt` is '' or why the time is implausible: `future`, `clock-reset` or `before-use`.
    """

    start: datetime
    end: datetime | None
    device_time: datetime | None
    doubt: str


def judge(
    start: datetime,
    end: datetime | None,
    *,
    received: datetime,
    ahead_s: float,
    future: timedelta,
    in_use_since: datetime | None,
) -> ReadingTime:
    """The time of a reading whose device says `start` and whose clock is ahead by `ahead_s`.

    Raises `OverflowError` where the correction leaves the calendar.
    """
    device_time = None
    if ahead_s:
        device_time = start
        offset = timedelta(seconds=ahead_s)
        start, end = start - offset, None if end is None else end - offset
    return ReadingTime(start, end, device_time, _doubt(start, end, received, future, in_use_since))


def _doubt(
    start: datetime,
    end: datetime | None,
    received: datetime,
    future: timedelta,
    in_use_since: datetime | None,
) -> str:
    if max(start, end or start) > received + future:
        return "future"
    if start < _FIRST + _RESET:
        return "clock-reset"
    if in_use_since is not None and start < in_use_since:
        return "before-use"
    return ""
