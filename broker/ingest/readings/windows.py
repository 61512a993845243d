"""The window of a reading that is merged with others: its time, hour, day, or correlation id."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from broker.fhir.merged_values import Window
from broker.mapping.reading import Merge

_MICROSECOND = timedelta(microseconds=1)
_LENGTHS: Mapping[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def window_of(merge: Merge, start: datetime) -> Window:
    """The window of a reading that starts at the moment. Hours and days are those of UTC."""
    if not merge.window:
        return Window(f"by {merge.key}", None)
    if merge.window == "time":
        return Window(f"time {start.astimezone(UTC).isoformat()}", None)
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if merge.window == "day":
        first = first.replace(hour=0)
    last = first + (_LENGTHS[merge.window] - _MICROSECOND)
    return Window(f"{merge.window} {first.isoformat()}", (first, last))
