"""What a process reports of itself every few seconds, for the charts of the last hour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of the whole broker at a moment. `accepted` and `delivered` count changes and events since the
    store is there; the others are current values, memory in bytes.
    """

    accepted: int
    delivered: int
    memory: int


@dataclass(frozen=True, slots=True)
class ActivitySample:
    """One report. `problems` are the parts that do not work, with the reason. `latencies` are the events that
    were delivered since the report before, by the upper bound (s) of their latency from acceptance to
    delivery; `inf` for the longest. One process at a time reports the `totals`.
    """

    process: str
    roles: Sequence[str] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    lags_s: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, int] = field(default_factory=dict)
    totals: Totals | None = None


def quantile(latencies: Mapping[float, int], part: float) -> float | None:
    """The latency (s) that this part of the events did not exceed, interpolated within its bucket as
    Prometheus does; None without events. What is above the highest finite bound counts as that bound.
    """
    total = sum(latencies.values())
    if not total:
        return None
    rank, below, low = part * total, 0, 0.0
    for bound in sorted(latencies):
        number = latencies[bound]
        if below + number >= rank and number:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / number
        below += number
        low = bound if bound != float("inf") else low
    return low
