"""The last hour of all processes, from what they report: rates, lags and latencies by half minutes."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.clock import Clock
from broker.model.activity import INTERVAL_S, Totals, quantile
from broker.store import stream_id
from broker.store.activity import Activity, RecordedSample

STEP_MS = 30_000
HOUR_MS = 60 * 60 * 1000
_FRESH_MS = round(INTERVAL_S * 3_500)
"""A process whose last report is older has ended, or does not reach the store."""


@dataclass(frozen=True, slots=True)
class Point:
    """Half a minute. Rates are per second, None where no totals were reported; lags and latencies in
    seconds.
    """

    at_ms: int
    accepted: float | None
    delivered: float | None
    lags_s: Mapping[str, float]
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The last report of a process that runs. `problems` are the parts that do not work."""

    process: str
    roles: Sequence[str]
    problems: Mapping[str, str]


@dataclass(slots=True)
class _Step:
    totals: list[tuple[int, Totals]] = field(default_factory=list)
    lags_s: dict[str, float] = field(default_factory=dict)
    latencies: Counter[float] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class History:
    """The points of the last hour, oldest first, and the processes that run."""

    points: Sequence[Point] = ()
    processes: Sequence[ProcessReport] = ()


class ActivityHistory:
    """One a process. It keeps what it has read, and reads what is new. Raises `StoreUnavailable`."""

    def __init__(self, activity: Activity, clock: Clock) -> None:
        self._activity = activity
        self._clock = clock
        self._samples: deque[RecordedSample] = deque()
        self._position = stream_id.FIRST

    async def read(self) -> History:
        before = self._position
        new, position = await self._activity.read(before)
        if self._position == before:  # else another caller has read the same meanwhile
            self._samples.extend(new)
            self._position = position
        now_ms = self._clock.now_ms()
        while self._samples and self._samples[0].at_ms < now_ms - HOUR_MS:
            self._samples.popleft()
        return History(list(points(self._samples)), processes(self._samples, now_ms))


def points(samples: Iterable[RecordedSample]) -> Iterable[Point]:
    """The samples, oldest first, as points. Pure."""
    steps: dict[int, _Step] = {}
    for at_ms, sample in samples:
        step = steps.setdefault(at_ms // STEP_MS, _Step())
        if sample.totals is not None:
            step.totals.append((at_ms, sample.totals))
        for worker, lag_s in sample.lags_s.items():
            step.lags_s[worker] = max(lag_s, step.lags_s.get(worker, 0.0))
        step.latencies.update({float(bound): number for bound, number in sample.latencies.items()})
    last: tuple[int, Totals] | None = None
    for number, step in sorted(steps.items()):
        accepted, delivered = _rates(last, step.totals)
        last = step.totals[-1] if step.totals else last
        yield Point(
            number * STEP_MS,
            accepted,
            delivered,
            step.lags_s,
            quantile(step.latencies, 0.5),
            quantile(step.latencies, 0.99),
        )


def processes(samples: Iterable[RecordedSample], now_ms: int) -> Sequence[ProcessReport]:
    """The last report of each process that still reports. Pure."""
    last = {
        sample.process: ProcessReport(sample.process, sample.roles, sample.problems)
        for at_ms, sample in samples
        if at_ms > now_ms - _FRESH_MS
    }
    return [last[process] for process in sorted(last)]


def _rates(
    last: tuple[int, Totals] | None, totals: Sequence[tuple[int, Totals]]
) -> tuple[float | None, float | None]:
    """Changes and events a second since the totals before. A rollback of the store takes numbers back: no
    rate is negative.
    """
    first = last or (totals[0] if totals else None)
    if first is None or not totals or totals[-1][0] <= first[0]:
        return None, None
    seconds = (totals[-1][0] - first[0]) / 1000
    before, after = first[1], totals[-1][1]
    return (
        round(max(0, after.accepted - before.accepted) / seconds, 2),
        round(max(0, after.delivered - before.delivered) / seconds, 2),
    )
