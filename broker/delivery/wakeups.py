"""Passes the store's wake-ups on within a process: which shard has something new.

A message may be lost with a connection, so each new one wakes everybody.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

import structlog

from broker.errors import StoreUnavailable
from broker.store.schedule import Schedule
from broker.tasks import work_until

_log = structlog.get_logger(__name__)


class WakeupListener:
    """One listener a process, for the dispatcher and all followers."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    async def run(self, stop: asyncio.Event) -> None:
        """Passes wake-ups on until `stop`."""
        try:
            await work_until(stop, self._listen())
        finally:
            for shard in list(self._waiting):
                self._wake(shard)

    async def _listen(self) -> None:
        while True:
            try:
                async for wakeup in self._schedule.wakeups():
                    for shard in list(self._waiting) if wakeup is None else (wakeup.shard,):
                        self._wake(shard)
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="wakeups", error=str(error))
                await asyncio.sleep(0.2)

    def _wake(self, shard: int) -> None:
        for event in self._waiting.get(shard, ()):
            event.set()

    @contextlib.contextmanager
    def of(self, shard: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happened in the shard."""
        event = asyncio.Event()
        with self.setting({shard: event}):
            yield event

    @contextlib.contextmanager
    def setting(self, events: Mapping[int, asyncio.Event]) -> Iterator[None]:
        """Sets the events of these shards whenever something happened there."""
        for shard, event in events.items():
            self._waiting[shard].add(event)
        try:
            yield
        finally:
            for shard, event in events.items():
                self._waiting[shard].discard(event)
