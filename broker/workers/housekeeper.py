"""Retention, on APScheduler's clock. Everything here may run twice or late without harm; nothing anyone waits for runs here."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.errors import StoreUnavailable
from broker.store.changes import Changes
from broker.store.subscriptions import RegistryFollower, Subscriptions
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
EVERY = timedelta(minutes=10)
KEPT_REGISTRY_ENTRIES = 10_000


class Housekeeper:
    """Drops what is older than `retention` and needed by nobody. `run` returns after `stop` is set."""

    def __init__(
        self,
        changes: Changes,
        subscriptions: Subscriptions,
        registry: RegistryFollower,
        stop: asyncio.Event,
        *,
        retention: timedelta,
    ) -> None:
        self._retention_ms = int(retention.total_seconds() * 1000)
        self._changes = changes
        self._subscriptions = subscriptions
        self._registry = registry
        self._stop = stop

    async def run(self) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        first = datetime.now(UTC) + timedelta(minutes=1)
        scheduler.add_job(
            self.sweep, "interval", seconds=EVERY.total_seconds(), next_run_time=first, max_instances=1
        )
        scheduler.start()
        try:
            await self._stop.wait()
        finally:
            scheduler.shutdown(wait=False)

    async def sweep(self) -> None:
        """One round; a part that fails is left for the next."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "changes": lambda: self._changes.trim(self._retention_ms),
            "outboxes": lambda: self._subscriptions.trim_outboxes(self._retention_ms),
            "registry": lambda: self._registry.trim(KEPT_REGISTRY_ENTRIES),
        }
        for name, trim in parts.items():
            try:
                await trim()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("retention put off", part=name, error=str(error))
