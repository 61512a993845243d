"""Reads `Retry-After`, the endpoint's word on when to come back. Pure; what can't be read is as good as
absent.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 366 * 86_400
"""More than any caller honours; keeps absurd numbers out of arithmetic."""


def retry_after_s(value: str | None, date: str | None, now_ms: int) -> float | None:
    """Seconds to wait, never negative. A point in time is measured from the answer's own `Date`, where it has
    one.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:12]), LONGEST_S))
    until_s = _seconds(value)
    if until_s is None:
        return None
    answered_s = _seconds(date or "")
    return min(max(0.0, until_s - (now_ms / 1000 if answered_s is None else answered_s)), LONGEST_S)


def _seconds(http_date: str) -> float | None:
    try:
        moment: datetime = parsedate_to_datetime(http_date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
