"""Forwards the store's wakeup messages within a process: to the dispatcher by shard, to open connections by
subscription.

A message may be lost with the connection to the store, so each new connection wakes everybody.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

import structlog

from broker.errors import StoreUnavailable
from broker.model.subscription import SubscriptionKey
from broker.store.schedule import Schedule, Wakeup
from broker.tasks import work_until

_log = structlog.get_logger(__name__)
_RECONNECT_S = 0.2


class WakeupListener:
    """One a process, for the dispatcher and all open connections."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._by_shard: defaultdict[int, set[asyncio.Event]] = defaultdict(set)
        self._by_subscription: defaultdict[SubscriptionKey, set[asyncio.Event]] = defaultdict(set)

    async def run(self, stop: asyncio.Event) -> None:
        """Forwards wakeups until `stop` is set, then wakes everybody."""
        try:
            await work_until(stop, self._listen())
        finally:
            self._wake_all()

    @contextlib.contextmanager
    def of_shards(self, events: Mapping[int, asyncio.Event]) -> Iterator[None]:
        """While the block runs, sets the event of a shard whenever something may have become due there."""
        for shard, event in events.items():
            self._by_shard[shard].add(event)
        try:
            yield
        finally:
            for shard, event in events.items():
                self._by_shard[shard].discard(event)

    @contextlib.contextmanager
    def of_subscription(self, key: SubscriptionKey) -> Iterator[asyncio.Event]:
        """An event that is set whenever the subscription's document or status changed, and when it got
        events, if it is a pull subscription or the store expects a reader.
        """
        event = asyncio.Event()
        events = self._by_subscription[key]
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._by_subscription.pop(key, None)

    async def _listen(self) -> None:
        while True:
            try:
                async for wakeup in self._schedule.wakeups():
                    if wakeup is None:
                        self._wake_all()
                    else:
                        self._wake(wakeup)
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="wakeups", error=str(error))
                await asyncio.sleep(_RECONNECT_S)

    def _wake(self, wakeup: Wakeup) -> None:
        if wakeup.shard is not None:
            for event in self._by_shard.get(wakeup.shard, ()):
                event.set()
        for key in wakeup.readers:
            for event in self._by_subscription.get(key, ()):
                event.set()

    def _wake_all(self) -> None:
        for events in (*self._by_shard.values(), *self._by_subscription.values()):
            for event in events:
                event.set()
