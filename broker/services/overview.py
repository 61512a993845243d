"""What an operator sees first: the figures of the whole broker, and whether each part works."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.services.health import Health, HealthReport


@dataclass(frozen=True, slots=True)
class Overview:
    """Current values over all tenants. `dead_letters` by kind, `subscriptions` by status."""

    health: HealthReport
    subscriptions: Mapping[str, int]
    dead_letters: Mapping[str, int]
    changes_accepted: int
    events_delivered: int
    unmatched_changes: int
    undelivered_events: int
    memory: int
    memory_limit: int


class OverviewService:
    """One a process: the readiness of the parts is that of this process."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def read(self) -> Overview:
        """Raises `StoreUnavailable`."""
        report, counts = await self._health.report(), await self._health.counters.read()
        return Overview(
            report,
            counts.subscriptions,
            {kind: letters.waiting for kind, letters in counts.dead_letters.items()},
            changes_accepted=sum(counts.changes_accepted.values()),
            events_delivered=counts.events_delivered,
            unmatched_changes=sum(counts.matcher_backlog.values()),
            undelivered_events=counts.undelivered_events,
            memory=counts.size.memory,
            memory_limit=counts.size.memory_limit,
        )
