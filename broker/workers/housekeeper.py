"""Removes data that is older or larger than its limits, at the intervals of an APScheduler.

No correctness depends on it: every job may run twice, late, or in several processes.
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

import structlog

from broker.errors import StoreUnavailable
from broker.store.memory_sample import MemorySample
from broker.store.registry import RegistryFollower
from broker.store.retention import Retention
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
MAX_INTERVAL = timedelta(minutes=10)
MIN_INTERVAL = timedelta(seconds=1)
SWEEPS_PER_RETENTION = 20
"""So data is kept at most a twentieth longer than the retention, or ten minutes."""
MAX_REGISTRY_ENTRIES = 10_000
MAX_REGISTRY_AGE = timedelta(minutes=10)
"""Every matcher that works has read an older entry."""
_FIRST_SWEEP_AFTER = timedelta(minutes=1)


def interval_of(retention: timedelta) -> timedelta:
    """How often to sweep."""
    return max(MIN_INTERVAL, min(MAX_INTERVAL, retention / SWEEPS_PER_RETENTION))


class Housekeeper:
    """`run` returns after `stop` is set, or raises what a sweep raises. `others` are further jobs by
    name.
    """

    def __init__(
        self,
        retention: Retention,
        registry: RegistryFollower,
        memory: MemorySample,
        interval: timedelta,
        stop: asyncio.Event,
        others: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({}),
    ) -> None:
        self._retention = retention
        self._registry = registry
        self._memory = memory
        self._interval = interval
        self._stop = stop
        self._others = others

    async def run(self) -> None:
        if await sleep_unless(self._stop, min(self._interval, _FIRST_SWEEP_AFTER).total_seconds()):
            return
        # a start does not wait for APScheduler, and the event loop does not wait for the import
        await asyncio.to_thread(importlib.import_module, "broker.workers.intervals")
        from broker.workers.intervals import run_at_intervals  # noqa: PLC0415

        await run_at_intervals(self.sweep, self._interval, self._stop)

    async def sweep(self) -> None:
        """Removes what is too old, trims the registry log, and measures what is left, once."""
        await self._run_all(
            {
                "retention": self._retention.sweep,
                "registry": self._trim_registry,
                "memory": self._measure_memory,
                **self._others,
            }
        )

    async def _measure_memory(self) -> None:
        await self._memory.take()

    async def _trim_registry(self) -> None:
        keep = min(MAX_REGISTRY_AGE, self._interval * SWEEPS_PER_RETENTION)
        await self._registry.trim(MAX_REGISTRY_ENTRIES, round(keep.total_seconds() * 1000))

    async def _run_all(self, jobs: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Runs the jobs one after the other; one that fails is left for the next sweep."""
        for name, job in jobs.items():
            try:
                await job()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("retention job postponed", job=name, error=str(error))
