"""Which subscriptions and tenants have the most undelivered events: sampled, so that a scrape reads one key.
Those that are off, and those whose subscriber connects and reads when it likes, are left out.

A sample reads the numbers of every subscription, page by page, at most so often that it takes a small part of
the time; one process at a time takes it. The result expires, so subscriptions that left, and a broker that
samples no more, leave no series behind. `workers/backlog_sampler.py` takes samples, `Counters` reads the
last one.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from broker.model.subscription import SubscriptionKey, SubscriptionStatus
from broker.store import keys, stream_id
from broker.store.protocol import Command, Store
from broker.store.records import event_of
from broker.store.replies import mapping_of
from broker.store.subscription_ids import SubscriptionIds
from broker.telemetry.store_metrics import NO_BACKLOGS, Backlogs, SubscriptionBacklog, TenantBacklog

_FIELDS = ("count", "cursor", "status", "is_pull")
_OFF = SubscriptionStatus.OFF.encode()
_decode = msgspec.msgpack.Decoder(Backlogs).decode
_encode = msgspec.msgpack.Encoder().encode


class BacklogSample:
    """Takes samples with at most `series` subscriptions and as many tenants."""

    def __init__(self, store: Store, series: int) -> None:
        self._store = store
        self._ids = SubscriptionIds(store)
        self._series = series

    async def is_my_turn(self, period_ms: int) -> bool:
        """Whether no other process has taken the turn of this period."""
        (reply,) = await self._store.send([("SET", keys.BACKLOGS_TURN, "1", "NX", "PX", period_ms)])
        return reply is not None

    async def take(self, keep_ms: int) -> Backlogs:
        """Samples and stores the result for so long. Raises `StoreUnavailable`."""
        largest: list[tuple[int, SubscriptionKey, int]] = []
        tenants: dict[str, TenantBacklog] = {}
        for shard in await self._shards():
            async for page in self._ids.in_shard(shard):
                for key, undelivered, cursor in await self._undelivered(shard, page):
                    of_tenant = tenants.get(key[0], TenantBacklog(key[0], 0, 0))
                    tenants[key[0]] = TenantBacklog(
                        key[0], of_tenant.undelivered + undelivered, of_tenant.subscriptions + 1
                    )
                    largest.append((undelivered, key, cursor))
                largest = heapq.nlargest(self._series, largest)
        most = heapq.nlargest(self._series, tenants.values(), key=lambda each: each.undelivered)
        backlogs = Backlogs(await self._with_ages(largest), most)
        await self._store.send([("SET", keys.BACKLOGS, _encode(backlogs), "PX", keep_ms)])
        return backlogs

    async def _shards(self) -> list[int]:
        """Those with undelivered events, as their counters say."""
        shards = range(self._store.layout.shards)
        replies = await self._store.send([("HGETALL", keys.shard_counters(shard)) for shard in shards])
        return [
            shard
            for shard, reply in zip(shards, replies, strict=True)
            if undelivered_in(Counter({name.decode(): int(n) for name, n in mapping_of(reply).items()}))
        ]

    async def _undelivered(
        self, shard: int, page: Sequence[SubscriptionKey]
    ) -> Sequence[tuple[SubscriptionKey, int, int]]:
        commands: list[Command] = [("HMGET", keys.subscription(shard, *key), *_FIELDS) for key in page]
        found = []
        replies = await self._store.send(commands)
        for key, (count, cursor, status, is_pull) in zip(page, replies, strict=True):
            undelivered = int(count or 0) - int(cursor or 0)
            if undelivered > 0 and status != _OFF and is_pull != b"1":
                found.append((key, undelivered, int(cursor)))
        return found

    async def _with_ages(
        self, largest: Sequence[tuple[int, SubscriptionKey, int]]
    ) -> list[SubscriptionBacklog]:
        """With how long their first undelivered event has waited; 0 where it was given up."""
        commands: list[Command] = [("TIME",)]
        for _, (tenant, name), cursor in largest:
            outbox = keys.outbox(self._store.layout.shard_of(tenant, name), tenant, name)
            commands.append(("XRANGE", outbox, stream_id.of_event(cursor + 1), stream_id.LAST, "COUNT", 1))
        (seconds, _), *entries = await self._store.send(commands)
        now_ms = int(seconds) * 1000
        return [
            SubscriptionBacklog(tenant, name, undelivered, _age_s(now_ms, tenant, found))
            for (undelivered, (tenant, name), _), found in zip(largest, entries, strict=True)
        ]


def _age_s(now_ms: int, tenant: Any, found: Sequence[Any]) -> float:
    return max(0.0, (now_ms - event_of(tenant, *found[0]).at_ms) / 1000) if found else 0.0


def undelivered_in(counters: Counter[str]) -> int:
    """How many events wait in a shard, by the fields of its counters."""
    delivered = counters["delivered"] + counters["events_delivered_correction"]
    return counters["events_appended"] - (delivered - counters["undelivered_correction"])


def backlogs_of(reply: bytes | None) -> Backlogs:
    """The last sample; empty if it has expired."""
    return NO_BACKLOGS if reply is None else _decode(reply)
