"""Retention, on APScheduler's clock. Everything here may run twice or late without harm; nothing anyone waits for runs here."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.errors import StoreUnavailable
from broker.store.retention import Retention
from broker.store.subscriptions import RegistryFollower
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
EVERY = timedelta(minutes=10)
LOGS_EVERY = timedelta(minutes=1)
"""The intake's streams grow with every reading, and a look at them costs a command a partition."""
KEPT_REGISTRY_ENTRIES = 10_000


class Housekeeper:
    """Has what is too old or too much dropped. `run` returns after `stop` is set."""

    def __init__(self, retention: Retention, registry: RegistryFollower, stop: asyncio.Event) -> None:
        self._retention = retention
        self._registry = registry
        self._stop = stop

    async def run(self) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        first = datetime.now(UTC) + timedelta(minutes=1)
        for job, every in ((self.sweep_logs, LOGS_EVERY), (self.sweep_outboxes, EVERY)):
            scheduler.add_job(
                job, "interval", seconds=every.total_seconds(), next_run_time=first, max_instances=1
            )
        scheduler.start()
        try:
            await self._stop.wait()
        finally:
            scheduler.shutdown(wait=False)

    async def sweep_logs(self) -> None:
        """One round of the intake's streams."""
        await self._each(
            {
                "changes": self._retention.trim_changes,
                "refused": self._retention.trim_refused,
                "dead letters": self._retention.trim_dead_letters,
            }
        )

    async def sweep_outboxes(self) -> None:
        """One round of what there is for each subscription."""
        await self._each(
            {
                "outboxes": self._retention.trim_outboxes,
                "registry": lambda: self._registry.trim(KEPT_REGISTRY_ENTRIES),
            }
        )

    async def _each(self, parts: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """A part that fails is left for the next round."""
        for name, trim in parts.items():
            try:
                await trim()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("retention put off", part=name, error=str(error))
