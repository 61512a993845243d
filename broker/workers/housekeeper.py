"""Removes data that is older or larger than its limits, on APScheduler's clock.

No correctness depends on it: every job may run twice, late, or in several processes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.errors import StoreUnavailable
from broker.store.registry import RegistryFollower
from broker.store.retention import Retention
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
EVERY = timedelta(minutes=10)
LOGS_EVERY = timedelta(minutes=1)
"""More often: the streams of the intake grow with every reading, and a check costs one command a partition.
"""
MAX_REGISTRY_ENTRIES = 10_000
_FIRST_RUN_AFTER = timedelta(minutes=1)


class Housekeeper:
    """`run` returns after `stop` is set."""

    def __init__(self, retention: Retention, registry: RegistryFollower, stop: asyncio.Event) -> None:
        self._retention = retention
        self._registry = registry
        self._stop = stop

    async def run(self) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        first_run = datetime.now(UTC) + _FIRST_RUN_AFTER
        for job, interval in ((self.sweep_logs, LOGS_EVERY), (self.sweep_outboxes, EVERY)):
            seconds = interval.total_seconds()
            scheduler.add_job(job, "interval", seconds=seconds, next_run_time=first_run, max_instances=1)
        scheduler.start()
        try:
            await self._stop.wait()
        finally:
            scheduler.shutdown(wait=False)

    async def sweep_logs(self) -> None:
        """Trims the streams of the intake and the dead letters once."""
        await self._run_all(
            {
                "changes": self._retention.trim_changes,
                "refused": self._retention.trim_refused,
                "dead letters": self._retention.trim_dead_letters,
            }
        )

    async def sweep_outboxes(self) -> None:
        """Trims the outboxes and the registry once."""
        await self._run_all({"outboxes": self._retention.trim_outboxes, "registry": self._trim_registry})

    async def _trim_registry(self) -> None:
        await self._registry.trim(MAX_REGISTRY_ENTRIES)

    async def _run_all(self, jobs: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Runs the jobs one after the other; one that fails is left for the next sweep."""
        for name, job in jobs.items():
            try:
                await job()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("retention job postponed", job=name, error=str(error))
