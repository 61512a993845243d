"""A data set of schema 4 is migrated: its changes, events, and notifications under way are what they were."""

from typing import Any

import msgspec
import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.outcome import Advance
from broker.model.release import Release
from broker.store import keys
from broker.store.changes import Changes
from broker.store.claims import Claim
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.short_records import shorten_records
from tests.conformance.delivery_fixture import KEY, BrokerFixture
from tests.conftest import ALL_STORES
from tests.matched import make_dead_letter, unmatched
from tests.stores import counts_of, redis_of

STORES = ALL_STORES
COPIED = 900
"""Changes: more than the migration copies at once."""


async def to_schema_4_change(redis: Any, stream: str) -> None:
    entries = await redis.xrange(stream)
    await redis.delete(stream)
    pipeline = redis.pipeline()
    for entry_id, fields in entries:
        state, _, logged = fields.pop(b"change").partition(b"\n")
        pipeline.xadd(stream, {**fields, b"change": logged, b"state": state}, id=entry_id)
    await pipeline.execute()


async def to_schema_4(store: Store, shard: int, partition: int) -> None:
    """Writes everything as schema 4 had it."""
    redis: Any = redis_of(store)
    await to_schema_4_change(redis, keys.changes(partition))
    await to_schema_4_change(redis, keys.dead_changes(partition, DEFAULT_TENANT))
    outbox, subscription = keys.outbox(shard, *KEY), keys.subscription(shard, *KEY)
    entries = await redis.xrange(outbox)
    await redis.delete(outbox)
    for entry_id, fields in entries:
        *head, at, size, included, trace, _patient = msgspec.msgpack.decode(fields[b"event"])
        record = msgspec.msgpack.encode([*head, included, trace])
        await redis.xadd(outbox, {"event": record, "at": at, "bytes": size}, id=entry_id)
    token, notification = await redis.hmget(subscription, "token", "notification")
    kind, last_event = notification.split()
    await redis.hdel(subscription, "notification")
    old = {
        "notification_type": f"{kind.decode()}-notification",
        "last_event": last_event,
        "pinned_at": int(token) // 1000,
    }
    await redis.hset(subscription, mapping=old)
    counters = keys.shard_counters(shard)
    await redis.hset(
        counters, "notifications:event-notification:delivered", await redis.hget(counters, "delivered")
    )
    await redis.hdel(counters, "delivered")


def pinned(claim: Claim) -> tuple[Any, ...]:
    return claim.type, claim.count, claim.at_ms, claim.events


@pytest.mark.parametrize("runs", [1, 2])
async def test_a_data_set_of_schema_4_is_what_it_was_after_the_migration(store: Store, runs: int) -> None:
    changes, broker_fixture = Changes(store, keep_ms=60_000), BrokerFixture(store)
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    for start in range(0, COPIED, 100):
        await changes.append(
            [
                Proposal(DEFAULT_TENANT, "put", "Basic", "a", Release.R4, b"}}")
                for _ in range(start, start + 100)
            ]
        )
    await make_dead_letter(store, (await unmatched(store, partition, count=1))[0], 1, "broken")
    letters = keys.dead_changes(partition, DEFAULT_TENANT)
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3)
    committed = await broker_fixture.schedule.commit(
        await broker_fixture.take(), Advance(), take_next=True, outcome="delivered"
    )
    assert committed is not None
    claim = committed.next_claim
    assert claim is not None
    before = (await unmatched(store, partition), await redis_of(store).xrange(letters))
    counted = (await counts_of(store)).notifications
    await to_schema_4(store, broker_fixture.shard, partition)
    for _ in range(runs):
        await shorten_records(store)
    assert (await unmatched(store, partition), await redis_of(store).xrange(letters)) == before
    assert len(before[0]) == COPIED - 1
    assert (await counts_of(store)).notifications == counted
    events = await broker_fixture.outboxes.read(*KEY, None, None, limit=10)
    assert [(event.number, event.focus.id) for event in events] == [(1, "o1"), (2, "o2"), (3, "o3")]
    # the claim is lost: the next one sends the identical notification
    await redis_of(store).zadd(keys.due(broker_fixture.shard), {keys.member(*KEY): 0})
    assert pinned(await broker_fixture.take()) == pinned(claim)
