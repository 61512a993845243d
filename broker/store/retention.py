"""Removes what is too old or too much. Every method may run twice, in several processes at once, and be
interrupted.

Matched changes, delivered events and dead letters are removed by age and by number. A change that is not
matched is never removed: `append_changes.lua` refuses new ones instead. An event that is not delivered is
removed only as a gap that is reported (`lua/shared/gaps.lua`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.model.change import Tenant
from broker.model.gap import GapReason
from broker.model.subscription import SubscriptionKey
from broker.store import keys
from broker.store.changes import GROUP, MAX_CHANGES
from broker.store.gaps import GapReporter
from broker.store.protocol import Store
from broker.store.scripts import dead_letters, intake, outbox
from broker.store.scripts.dead_letters import DeadLetterStream
from broker.store.subscriptions import Subscriptions

_log = structlog.get_logger(__name__)
_PAGE = 200
_ENTRIES_PER_CALL = 5_000
"""Entries that one script looks at: the store does nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much is kept. `keep_ms` applies to every stream.

    `changes` is the number of entries of each partition, `refused` of each tenant's refused inbox entries,
    `dead_letters` of each tenant's changes that are dead letters in a partition.
    """

    keep_ms: int
    changes: int = MAX_CHANGES
    refused: int = 100_000
    dead_letters: int = 10_000


class Retention:
    """Trims each kind of stream."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._subscriptions = Subscriptions(store)
        self._gaps = GapReporter()

    async def trim_changes(self) -> None:
        """Removes matched changes."""
        waiting = list(range(self._store.layout.partitions))
        while waiting:
            removed = await intake.trim_changes(
                self._store,
                GROUP,
                waiting,
                keep_ms=self._limits.keep_ms,
                max_changes=self._limits.changes,
                limit=_ENTRIES_PER_CALL,
            )
            waiting = [p for p, number in zip(waiting, removed, strict=True) if number >= _ENTRIES_PER_CALL]

    async def trim_outboxes(self) -> None:
        """Removes events that are too old; `append_events.lua` limits their number."""
        for shard in range(self._store.layout.shards):
            subscriptions = await self._subscriptions.in_shard(shard)
            for start in range(0, len(subscriptions), _PAGE):
                waiting = subscriptions[start : start + _PAGE]
                while waiting:
                    waiting = await self._trim_outboxes(shard, waiting)

    async def _trim_outboxes(
        self, shard: int, subscriptions: Sequence[SubscriptionKey]
    ) -> list[SubscriptionKey]:
        """Returns the subscriptions that have more events to remove."""
        trimmed = await outbox.trim_outboxes(
            self._store, shard, subscriptions, keep_ms=self._limits.keep_ms, limit=_ENTRIES_PER_CALL
        )
        for result in trimmed:
            if result.lost:
                self._gaps.report(result.lost.subscription, result.lost.low, result.lost.high, GapReason.AGE)
        return [
            subscription
            for subscription, result in zip(subscriptions, trimmed, strict=True)
            if result.has_more
        ]

    async def trim_refused(self) -> None:
        """Removes refused inbox entries."""
        (reply,) = await self._store.send([("SMEMBERS", keys.INBOX_TENANTS)])
        tenants: list[Tenant | None] = [None, *(Tenant(tenant.decode()) for tenant in reply)]
        streams = [DeadLetterStream(tenant) for tenant in tenants]
        await self._trim("refused inbox entries", streams, self._limits.refused)

    async def trim_dead_letters(self) -> None:
        """Removes changes that are dead letters and that no operator took care of."""
        partitions = range(self._store.layout.partitions)
        replies = await self._store.send([("SMEMBERS", keys.dead_change_tenants(p)) for p in partitions])
        streams = [
            DeadLetterStream(Tenant(tenant.decode()), partition)
            for partition, tenants in zip(partitions, replies, strict=True)
            for tenant in tenants
        ]
        await self._trim("changes", streams, self._limits.dead_letters)

    async def _trim(self, name: str, streams: Sequence[DeadLetterStream], max_entries: int) -> None:
        removed = await dead_letters.trim_dead_letters(
            self._store, streams, keep_ms=self._limits.keep_ms, max_entries=max_entries
        )
        if removed:
            _log.warning("dead letters removed by retention", kind=name, number=removed)
