"""The parameters of a history: `_since` or `_at`, `_count`, the page, and how much of each resource.

Histories of a resource, of a type and of the system read them here. A parameter that a history does not have
is refused: ignoring it would show other versions than were asked for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from broker.errors import Issue, Malformed
from broker.fhir.summaries import SummaryView
from broker.matching.dates import Interval, date_interval, microseconds
from broker.matching.values import BadValue
from broker.services.result_parameters import Parameters, parse_result_parameters

_EPOCH = microseconds(datetime(1970, 1, 1, tzinfo=UTC))
_SHAPE = frozenset({"_count", "_elements", "_format", "_page", "_pretty", "_summary"})


class Span(NamedTuple):
    """From one moment to another (ms), both included."""

    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class HistoryParameters:
    """What a client asks for. `since_ms`: versions of that moment and later. `at`: versions that were current
    in that span. `honoured` are the parameters as they were applied, without the page: links repeat them.
    """

    count: int
    page: str
    view: SummaryView
    honoured: Parameters
    since_ms: int = 0
    at: Span | None = None


def parse_history_parameters(parameters: Parameters, elements: Collection[str]) -> HistoryParameters:
    """Raises `Malformed` with the name of the parameter."""
    shaping, dates = [], dict[str, str]()
    for name, value in parameters:
        code = name.partition(":")[0]
        if name in {"_since", "_at"}:
            if dates:
                raise Malformed(Issue("value", "Send one _since or one _at, not several.", name))
            dates[name] = value
        elif code in _SHAPE:
            shaping.append((name, value))
        else:
            text = f"A history has no parameter {name!r}. It has _since, _at and _count. Leave it out."
            raise Malformed(Issue("not-supported", text, name))
    shape = parse_result_parameters(shaping, sortable=(), elements=elements, is_strict=True)
    if shape.count == 0:
        text = "A history is not counted. Send a _count of 1 or more, and no _summary=count."
        raise Malformed(Issue("not-supported", text, "_count"))
    intervals = {name: _interval(name, value) for name, value in dates.items()}
    since, at = intervals.get("_since"), intervals.get("_at")
    return HistoryParameters(
        count=shape.count,
        page=shape.page,
        view=shape.view,
        honoured=[*dates.items(), *shape.honoured],
        since_ms=0 if since is None else max(0, -(-(since.low - _EPOCH) // 1_000)),
        at=None if at is None else Span((at.low - _EPOCH) // 1_000, (at.high - 1 - _EPOCH) // 1_000),
    )


def _interval(name: str, value: str) -> Interval:
    try:
        return date_interval(value)
    except BadValue:
        text = f"{name} takes a moment such as 2026-01-02T03:04:05.678Z, not {value[:40]!r}."
        raise Malformed(Issue("value", text, name)) from None
