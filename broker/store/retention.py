"""Removes what is too old or too much. Every method may run twice, in several processes at once, and be
interrupted.

`sweep` moves one horizon through the store, in the order in which things need each other: events and dead
letters before it go first, then the versions that only they could need. A change that is not matched is never
removed, nor any change behind it in its partition: `append_changes.lua` refuses new ones instead. An event
that is not delivered is removed only as a gap that is reported (`lua/shared/gaps.lua`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from broker.model.change import Tenant
from broker.model.gap import GapReason
from broker.model.subscription import SubscriptionKey
from broker.store import keys, stream_id
from broker.store.gaps import GapReporter
from broker.store.matched_positions import MatchedPositions
from broker.store.protocol import Store
from broker.store.records import logged_change
from broker.store.replies import entries_of
from broker.store.scripts import dead_letters, intake, outbox
from broker.store.scripts.dead_letters import DeadLetterStream
from broker.store.scripts.intake import ExpiringVersion
from broker.store.stream_id import StreamId
from broker.store.subscription_ids import SubscriptionIds

_log = structlog.get_logger(__name__)
_PAGE = 200
"""Versions in one script: the store does nothing else for milliseconds."""
_ENTRIES = 2_000
"""Entries of outboxes that the scripts of one round trip look at."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much is kept.

    `keep_ms` applies to events, dead letters, superseded versions and deletions. `types` says how long the
    current version of a resource is kept, at least `keep_ms`; one of a type that is absent is kept until it
    is deleted. `refused` is the number of each tenant's refused inbox entries, `dead_letters` that of each
    tenant's changes that are dead letters in a partition, `quarantined` that of each tenant's readings.
    """

    keep_ms: int
    types: Mapping[str, int] = field(default_factory=dict)
    refused: int = 100_000
    dead_letters: int = 10_000
    quarantined: int = 100_000


class Retention:
    """Trims each kind of stream, and removes versions."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._ids = SubscriptionIds(store)
        self._positions = MatchedPositions(store)
        self._gaps = GapReporter()

    async def sweep(self) -> None:
        """Removes what became too old since the last sweep."""
        now_ms = await self._now_ms()
        horizon_ms = now_ms - self._limits.keep_ms
        # before the outboxes are trimmed: the events of a change that is matched later are still to come
        matched = [await self._matched_until_ms(p, now_ms) for p in range(self._store.layout.partitions)]
        await self._trim_outboxes(horizon_ms)
        await self._trim_dead_letters(horizon_ms)
        for partition, matched_until_ms in enumerate(matched):
            # a change that waits longer than the retention still needs its version and the one before
            limit_ms = max(0, min(horizon_ms, matched_until_ms))
            await self._remove_logged(partition, limit_ms)
            await self._remove_held(partition, limit_ms)

    async def _now_ms(self) -> int:
        (reply,) = await self._store.send([("TIME",)])
        return int(reply[0]) * 1000 + int(reply[1]) // 1000

    async def _matched_until_ms(self, partition: int, now_ms: int) -> int:
        """A moment before which all changes are matched, those included that are still to come."""
        position = StreamId.parse((await self._positions.load([partition]))[partition])
        (newest,) = await self._store.send([("XREVRANGE", keys.changes(partition), "+", "-", "COUNT", 1)])
        # what is logged after the position was read is later than `now_ms`
        is_all_matched = not newest or StreamId.parse(newest[0][0]) <= position
        return now_ms if is_all_matched else position.ms

    async def _trim_outboxes(self, horizon_ms: int) -> None:
        """Removes events before the horizon; `append_events.lua` limits their number."""
        for shard in range(self._store.layout.shards):
            async for page in self._ids.in_shard(shard):
                waiting = page
                while waiting:
                    waiting = await self._trim_page(shard, waiting, horizon_ms)

    async def _trim_page(
        self, shard: int, subscriptions: Sequence[SubscriptionKey], horizon_ms: int
    ) -> list[SubscriptionKey]:
        """Returns the subscriptions that have more events to remove."""
        trimmed = await outbox.trim_outboxes(
            self._store,
            shard,
            subscriptions,
            horizon_ms=horizon_ms,
            limit=max(1, _ENTRIES // len(subscriptions)),
        )
        for result in trimmed:
            if result.lost:
                self._gaps.report(result.lost.subscription, result.lost.low, result.lost.high, GapReason.AGE)
        return [
            subscription
            for subscription, result in zip(subscriptions, trimmed, strict=True)
            if result.has_more
        ]

    async def _trim_dead_letters(self, horizon_ms: int) -> None:
        """Removes refused inbox entries, and changes that are dead letters, that no operator took care of."""
        (reply,) = await self._store.send([("SMEMBERS", keys.INBOX_TENANTS)])
        tenants: list[Tenant | None] = [None, *(Tenant(tenant.decode()) for tenant in reply)]
        streams = [DeadLetterStream(tenant) for tenant in tenants]
        await self._trim("refused inbox entries", streams, horizon_ms, self._limits.refused)
        (reply,) = await self._store.send([("SMEMBERS", keys.QUARANTINE_TENANTS)])
        streams = [DeadLetterStream(Tenant(tenant.decode()), is_of_readings=True) for tenant in reply]
        await self._trim("quarantined readings", streams, horizon_ms, self._limits.quarantined)
        partitions = range(self._store.layout.partitions)
        replies = await self._store.send([("SMEMBERS", keys.dead_change_tenants(p)) for p in partitions])
        streams = [
            DeadLetterStream(Tenant(tenant.decode()), partition)
            for partition, names in zip(partitions, replies, strict=True)
            for tenant in names
        ]
        await self._trim("changes", streams, horizon_ms, self._limits.dead_letters)

    async def _trim(
        self, name: str, streams: Sequence[DeadLetterStream], horizon_ms: int, max_entries: int
    ) -> None:
        removed = await dead_letters.trim_dead_letters(
            self._store, streams, horizon_ms=horizon_ms, max_entries=max_entries
        )
        if removed:
            _log.warning("dead letters removed by retention", kind=name, number=removed)

    async def _remove_logged(self, partition: int, horizon_ms: int) -> None:
        """Removes changes before the horizon from the log, with the versions that they made or superseded."""
        if horizon_ms == 0:
            return
        command = ("XRANGE", keys.changes(partition), stream_id.FIRST, f"({horizon_ms}-0", "COUNT", _PAGE)
        while page := entries_of((await self._store.send([command]))[0]):
            changed = [logged_change(fields).key for _, fields in page]
            await intake.remove_versions(
                self._store,
                partition,
                [ExpiringVersion(key, self._stays_ms(key.type)) for key in changed],
                horizon_ms=horizon_ms,
                first_kept=str(StreamId.parse(page[-1][0]).next),
            )

    async def _remove_held(self, partition: int, horizon_ms: int) -> None:
        """Removes versions that were held until before the horizon."""
        command = (
            "ZRANGEBYSCORE",
            keys.held_versions(partition),
            "-inf",
            f"({horizon_ms}",
            "LIMIT",
            0,
            _PAGE,
        )
        while members := (await self._store.send([command]))[0]:
            held = [keys.version_key(member) for member in members]
            expiring = [ExpiringVersion(key, self._stays_ms(key.type)) for key in held]
            await intake.remove_versions(self._store, partition, expiring, horizon_ms=horizon_ms)

    def _stays_ms(self, resource_type: str) -> int | None:
        kept_ms = self._limits.types.get(resource_type)
        return None if kept_ms is None else kept_ms - self._limits.keep_ms
