"""The last hour of all processes, from what they report: rates, lags and latencies by half minutes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    first: tuple[int, Totals] | None = None
    totals: tuple[int, Totals] | None = None
    lags_s: dict[str, float] = field(default_factory=dict)
    latencies: Counter[float] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class History:
    """The points of the last hour, oldest first, and the processes that run."""

    points: Sequence[Point] = ()
    processes: Sequence[ProcessReport] = ()


class Hour:
    """The reports of an hour, added up by half minutes as they come, oldest first."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}
        self._last: dict[str, tuple[int, ProcessReport]] = {}

    def add(self, recorded: RecordedSample) -> None:
        at_ms, sample = recorded
        step = self._steps.setdefault(at_ms // STEP_MS, _Step())
        if sample.totals is not None:
            step.totals = at_ms, sample.totals
            step.first = step.first or step.totals
        for worker, lag_s in sample.lags_s.items():
            step.lags_s[worker] = max(lag_s, step.lags_s.get(worker, 0.0))
        step.latencies.update({float(bound): number for bound, number in sample.latencies.items()})
        self._last[sample.process] = at_ms, ProcessReport(sample.process, sample.roles, sample.problems)

    def forget(self, before_ms: int) -> None:
        """Removes what is older."""
        for number in [number for number in self._steps if number < before_ms // STEP_MS]:
            del self._steps[number]
        self._last = {name: last for name, last in self._last.items() if last[0] >= before_ms}

    def points(self) -> Iterator[Point]:
        last: tuple[int, Totals] | None = None
        for number, step in self._steps.items():
            accepted, delivered = _rates(last or step.first, step.totals)
            last = step.totals or last
            yield Point(
                number * STEP_MS,
                accepted,
                delivered,
                step.lags_s,
                quantile(step.latencies, 0.5),
                quantile(step.latencies, 0.99),
            )

    def processes(self, now_ms: int) -> Sequence[ProcessReport]:
        """The last report of each process that still reports."""
        fresh = {name: report for name, (at_ms, report) in self._last.items() if at_ms > now_ms - _FRESH_MS}
        return [fresh[name] for name in sorted(fresh)]


class ActivityHistory:
    """One a process. It keeps what it has read, and reads what is new. Raises `StoreUnavailable`."""

    def __init__(self, activity: Activity, clock: Clock) -> None:
        self._activity = activity
        self._clock = clock
        self._hour = Hour()
        self._position = stream_id.FIRST

    async def read(self) -> History:
        before = self._position
        new, position = await self._activity.read(before)
        if self._position == before:  # else another caller has read the same meanwhile
            self._position = position
            for recorded in new:
                self._hour.add(recorded)
        now_ms = self._clock.now_ms()
        self._hour.forget(now_ms - HOUR_MS)
        return History(list(self._hour.points()), self._hour.processes(now_ms))


def _rates(
    last: tuple[int, Totals] | None, now: tuple[int, Totals] | None
) -> tuple[float | None, float | None]:
    """Changes and events a second since the totals of the step before, in the first step since its first. A
    rollback of the store takes numbers back: no rate is negative.
    """
    if last is None or now is None or now[0] <= last[0]:
        return None, None
    seconds = (now[0] - last[0]) / 1000
    before, after = last[1], now[1]
    return (
        round(max(0, after.accepted - before.accepted) / seconds, 2),
        round(max(0, after.delivered - before.delivered) / seconds, 2),
    )
