"""Retention on a real store: what may still be needed stays, the rest goes, and a sweep may run twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from broker.clock import SystemClock
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.gap import GapReason
from broker.model.outcome import Advance
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    PayloadContent,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.claims import Claim
from broker.store.memory_sample import MemorySample
from broker.store.outbox import Outboxes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from broker.store.retention import Limits, Retention
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record, Subscriptions
from broker.workers.housekeeper import Housekeeper
from tests.conftest import ALL_STORES
from tests.matched import mark_matched, unmatched
from tests.stores import changes_of, counts_of, redis_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES

HOUR_MS = 3_600_000
KEY = (DEFAULT_TENANT, SubscriptionId("one"))
SUBSCRIPTION = stored_subscription(release=Release.R4, content=PayloadContent.FULL_RESOURCE)


def proposal(resource_id: str = "a") -> Proposal:
    return Proposal(
        tenant=DEFAULT_TENANT,
        op="put",
        type="Observation",
        id=resource_id,
        release=Release.R4,
        tail=b'},"status":"final"}',
    )


def old_change(n: int) -> Change:
    """A change of 1970, as old as can be."""
    key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
    return Change(f"{n}-0", 0, Version(key, Release.R4, Interaction.CREATE, 1_000 + n, Resource(b"x")), None)


def fresh_change(n: int) -> Change:
    key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
    now_ms = SystemClock().now_ms()
    return Change(f"{n}-0", 0, Version(key, Release.R4, Interaction.CREATE, now_ms, Resource(b"x")), None)


class BrokerFixture:
    """A store with a subscription, and its housekeeper."""

    def __init__(self, server: Store, *, keep_ms: int = HOUR_MS) -> None:
        self.server = server
        self.changes = Changes(server, keep_ms=keep_ms)
        self.subscriptions = Subscriptions(server)
        self.outboxes = Outboxes(server)
        self.schedule = Schedule(server, lease_ms=60_000, max_bytes=10_000, resume="backlog")

    async def sweep(self, keep: timedelta) -> None:
        limits = Limits(keep_ms=int(keep.total_seconds() * 1000))
        retention, registry = Retention(self.server, limits), RegistryFollower(self.server)
        keeper = Housekeeper(
            retention, registry, MemorySample(self.server), timedelta(hours=1), asyncio.Event()
        )
        for _ in range(2):  # as two processes would
            await keeper.sweep()

    async def claim(self) -> Claim:
        (claim,) = (await self.schedule.claim(self.server.layout.shard_of(*KEY), 10)).claims
        return claim

    async def activate(self) -> None:
        await self.subscriptions.put(SUBSCRIPTION, create=True)
        await self.schedule.commit(await self.claim(), Advance(), take_next=False)

    async def reactivate(self) -> None:
        await self.subscriptions.put(SUBSCRIPTION, create=False)
        await self.schedule.commit(await self.claim(), Advance(), take_next=False)

    async def record(self) -> Record:
        found = await self.subscriptions.get(*KEY)
        assert found is not None
        return found

    async def numbers(self) -> list[int]:
        return [event.number for event in await self.outboxes.read(*KEY, None, None, limit=1_000)]


@pytest.fixture
async def broker_fixture(store: Store) -> BrokerFixture:
    return BrokerFixture(store)


async def test_a_sweep_keeps_changes_that_are_not_matched_however_old(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    for _ in range(300):
        await broker_fixture.changes.append([proposal()])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    read = await unmatched(store, partition)
    await broker_fixture.sweep(timedelta(seconds=-60))
    assert sum((await ChangeLog(store).backlog()).values()) == 300
    await mark_matched(store, read[:150])
    await broker_fixture.sweep(timedelta(seconds=-60))
    rest = await unmatched(store, partition)
    assert [change.current.key.version for change in rest] == list(range(151, 301))


async def test_a_sweep_keeps_matched_changes_younger_than_the_retention(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    for _ in range(300):
        await broker_fixture.changes.append([proposal()])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    await mark_matched(store, await unmatched(store, partition))
    await broker_fixture.sweep(timedelta(hours=1))
    assert await redis_of(store).xlen(keys.changes(partition)) == 300


async def test_delivered_events_are_removed_by_age_silently_and_waiting_ones_stay(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.outboxes.append(0, 1, {KEY: [old_change(1), old_change(2)]})
    await broker_fixture.schedule.commit(await broker_fixture.claim(), Advance(), take_next=False)
    await broker_fixture.outboxes.append(0, 1, {KEY: [fresh_change(3), fresh_change(4)]})
    await broker_fixture.sweep(timedelta(hours=1))
    assert await broker_fixture.numbers() == [3, 4]
    record = await broker_fixture.record()
    assert record.subscription.status is SubscriptionStatus.ACTIVE
    assert record.gaps == ()


async def test_waiting_events_that_are_too_old_are_given_up_as_a_gap_and_newer_ones_stay(
    broker_fixture: BrokerFixture,
    store: Store,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.outboxes.append(0, 1, {KEY: [old_change(n) for n in range(1, 5)]})
    await broker_fixture.schedule.commit(await broker_fixture.claim(), Advance(), take_next=False)
    await broker_fixture.outboxes.append(0, 1, {KEY: [fresh_change(5)]})
    await broker_fixture.sweep(timedelta(hours=1))
    assert (await counts_of(store)).events_given_up[GapReason.AGE] == 2
    record = await broker_fixture.record()
    assert record.subscription.status is SubscriptionStatus.ERROR
    assert [(gap.low, gap.high, gap.reason) for gap in record.gaps] == [(3, 4, GapReason.AGE)]
    assert record.count == 5
    assert await broker_fixture.numbers() == [5]
    assert "events 3 to 4 are missing" in record.errors[0].text
    await broker_fixture.reactivate()
    assert [event.number for event in (await broker_fixture.claim()).events] == [5]


async def test_numbers_continue_after_every_event_was_trimmed(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.outboxes.append(0, 1, {KEY: [old_change(1), old_change(2)]})
    await broker_fixture.schedule.commit(await broker_fixture.claim(), Advance(), take_next=False)
    await broker_fixture.sweep(timedelta())
    assert await broker_fixture.numbers() == []
    assert await broker_fixture.outboxes.append(0, 1, {KEY: [old_change(2), old_change(3)]}) == 1
    assert await broker_fixture.numbers() == [3]


async def test_a_sweep_keeps_the_end_of_the_registry(broker_fixture: BrokerFixture, store: Store) -> None:
    follower = RegistryFollower(store)
    await changes_of(follower)
    for _ in range(30):
        await broker_fixture.subscriptions.put(SUBSCRIPTION, create=False)
    await broker_fixture.sweep(timedelta())
    assert [key for key, _ in await changes_of(follower)] == [KEY]
    shard = store.layout.shard_of(*KEY)
    assert await redis_of(store).xlen(keys.registry(shard)) == 30


async def test_a_follower_learns_of_deletions_whose_registry_entries_were_trimmed(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.activate()
    follower = RegistryFollower(store)
    await changes_of(follower)
    await broker_fixture.subscriptions.delete(*KEY)
    other = SUBSCRIPTION.changed(id=_in_shard(store, store.layout.shard_of(*KEY)))
    for _ in range(3):
        await broker_fixture.subscriptions.put(other, create=False)
    await redis_of(store).xtrim(keys.registry(store.layout.shard_of(*KEY)), maxlen=1, approximate=False)
    changed = {key[1]: record is not None for key, record in await changes_of(follower)}
    assert changed == {KEY[1]: False, other.id: True}


async def test_a_follower_learns_what_replaced_entries_that_the_store_forgot(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    log = keys.registry(store.layout.shard_of(*KEY))
    await broker_fixture.subscriptions.put(SUBSCRIPTION, create=True)
    follower = RegistryFollower(store)
    await changes_of(follower)
    await broker_fixture.subscriptions.put(SUBSCRIPTION, create=False)
    await changes_of(follower)
    # what a fail-over to a replica that lacks the last entry does
    newest: Any = await redis_of(store).xrevrange(log, count=1)
    await redis_of(store).xdel(log, newest[0][0])
    other = SUBSCRIPTION.changed(id=_in_shard(store, store.layout.shard_of(*KEY)))
    await broker_fixture.subscriptions.put(other, create=True)
    assert other.id in {key[1] for key, _ in await changes_of(follower)}


def _in_shard(store: Store, shard: int) -> SubscriptionId:
    names = (SubscriptionId(f"n{n}") for n in range(1_000))
    return next(name for name in names if store.layout.shard_of(DEFAULT_TENANT, name) == shard)


async def test_a_follower_reads_what_was_registered_again_after_a_deletion(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.subscriptions.put(SUBSCRIPTION, create=False)
    follower = RegistryFollower(store)
    await changes_of(follower)
    await broker_fixture.subscriptions.delete(*KEY)
    assert [record for key, record in await changes_of(follower) if key == KEY] == [None]
    await broker_fixture.subscriptions.put(SUBSCRIPTION, create=True)
    await broker_fixture.subscriptions.delete(*KEY)
    await broker_fixture.subscriptions.put(SUBSCRIPTION, create=True)
    [record] = [record for key, record in await changes_of(follower) if key == KEY]
    assert record is not None
