"""Reports every few seconds what this process does: to the store, for the console of any process."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from broker.errors import StoreUnavailable
from broker.model.activity import INTERVAL_S, ActivitySample, Totals
from broker.services.health import Health
from broker.store.activity import Activity
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)


class ActivityRecorder:
    """`run` returns after `stop` is set. `lags` are those of the workers of this process."""

    def __init__(
        self,
        activity: Activity,
        health: Health,
        lags: Mapping[str, Callable[[], float]],
        process: str,
        roles: Sequence[str],
        stop: asyncio.Event,
    ) -> None:
        self._activity = activity
        self._health = health
        self._lags = lags
        self._process = process
        self._roles = roles
        self._stop = stop
        self._counted = _counted()

    async def run(self) -> None:
        while not await sleep_unless(self._stop, INTERVAL_S):
            try:
                await self.record()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("activity of this process not reported", error=str(error))

    async def record(self) -> None:
        """One report. Raises `StoreUnavailable`."""
        report = await self._health.report()
        counted, before = _counted(), self._counted
        self._counted = counted
        totals = await self._totals() if await self._activity.take_turn(self._process) else None
        await self._activity.append(
            ActivitySample(
                self._process,
                self._roles,
                {name: state for name, state in report.parts.items() if state != "ok"},
                {worker: round(lag(), 3) for worker, lag in self._lags.items()},
                {
                    bound: number - before.get(bound, 0)
                    for bound, number in counted.items()
                    if number > before.get(bound, 0)
                },
                totals,
            )
        )

    async def _totals(self) -> Totals:
        counts = await self._health.counters.read()
        return Totals(sum(counts.changes_accepted.values()), counts.events_delivered, counts.size.memory)


def _counted() -> Mapping[str, int]:
    """The events that this process has delivered, by the upper bound of their latency."""
    up_to: Counter[float] = Counter()
    for metric in metrics.delivery_latency.collect():
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                up_to[float(sample.labels["le"])] += int(sample.value)
    counted, below = {}, 0
    for bound, number in sorted(up_to.items()):
        counted[str(bound)], below = number - below, number
    return counted
