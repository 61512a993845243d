"""What an operator sees first: the figures of the whole broker, its last hour, and whether each part
works.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.services.activity_history import ActivityHistory, History, ProcessReport
from broker.services.health import Health, HealthReport
from broker.services.sizing import Load, store_memory
from broker.telemetry.store_metrics import StoreCounts

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """What a day costs at the rate of the last hour: changes, events, and bytes of the store's memory until
    retention removes them.
    """

    changes: int
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Current values over all tenants, and the last hour. `process` and `health` are those of the process
    that answers. `day` is None before there is a rate.
    """

    process: str
    health: HealthReport
    history: History
    counts: StoreCounts
    day: Day | None

    @property
    def roles(self) -> Sequence[str]:
        """Those of this process, once it has reported."""
        return next((each.roles for each in self.history.processes if each.process == self.process), ())

    @property
    def others(self) -> Sequence[ProcessReport]:
        """The other processes."""
        return [each for each in self.history.processes if each.process != self.process]

    @property
    def unmatched_changes(self) -> int:
        return sum(self.counts.matcher_backlog.values())

    @property
    def changes_accepted(self) -> int:
        return sum(self.counts.changes_accepted.values())

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """Those that wait for somebody, by kind."""
        return {kind: letters.waiting for kind, letters in self.counts.dead_letters.items()}


class OverviewService:
    """One a process: the readiness of the parts is that of this process."""

    def __init__(
        self, process: str, health: Health, history: ActivityHistory, *, has_search: bool, has_audit: bool
    ) -> None:
        self._process = process
        self._health = health
        self._history = history
        self._has_search = has_search
        self._has_audit = has_audit

    async def read(self) -> Overview:
        """Raises `StoreUnavailable`."""
        report, counts = await self._health.report(), await self._health.counters.read()
        history = await self._history.read()
        day = day_of(history, has_search=self._has_search, has_audit=self._has_audit)
        return Overview(self._process, report, history, counts, day)


def day_of(history: History, *, has_search: bool, has_audit: bool) -> Day | None:
    """What a day costs, by the measured figures of `sizing.py`; None without a rate."""
    accepted = [point.accepted for point in history.points if point.accepted is not None]
    delivered = [point.delivered for point in history.points if point.delivered is not None]
    if not accepted:
        return None
    changes_per_s, events_per_s = sum(accepted) / len(accepted), sum(delivered) / len(delivered)
    matches = events_per_s / changes_per_s if changes_per_s else 0.0
    load = Load(
        changes_per_s,
        _DAY_S,
        subscriptions=0,
        matches=matches,
        audit_s=_DAY_S if has_audit else 0,
        has_search=has_search,
    )
    size = sum(need.amount for need in store_memory(load))
    return Day(round(changes_per_s * _DAY_S), round(events_per_s * _DAY_S), round(size))
