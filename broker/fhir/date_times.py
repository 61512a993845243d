"""The moments that a FHIR dateTime stands for, and the dateTime of a moment.

A date without a time stands for all its moments in UTC. Readers of associations and of Device elements call
it; search has its own reading of dates (`matching/dates.py`).
"""

import re
from datetime import UTC, datetime, timedelta

_PARTS = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")


def earliest(text: object) -> datetime | None:
    """The first moment; None for a value that is not a dateTime."""
    if not isinstance(text, str):
        return None
    parts = _PARTS.fullmatch(text)
    try:
        if parts is None:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else None
        return datetime(int(parts[1]), int(parts[2] or 1), int(parts[3] or 1), tzinfo=UTC)
    except ValueError:
        return None


def latest(text: object) -> datetime | None:
    """The moment before which it has ended: that after a date, month, year or second."""
    first = earliest(text)
    if first is None or not isinstance(text, str):
        return None
    try:
        match text.count("-") if "T" not in text else -1:
            case -1:
                return first + (timedelta(milliseconds=1) if "." in text else timedelta(seconds=1))
            case 0:
                return first.replace(year=first.year + 1)
            case 1:
                return (first + timedelta(days=32)).replace(day=1)
        return first + timedelta(days=1)
    except (OverflowError, ValueError):
        return None


def date_time(moment: datetime) -> str:
    """The dateTime of an aware moment, with its offset, to the microseconds that it has."""
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
