"""What an open connection follows, on a real store."""

import asyncio
from dataclasses import replace

import pytest

from broker.clock import SystemClock
from broker.delivery.composing import Composer
from broker.delivery.following import Following
from broker.delivery.wakeups import WakeupListener
from broker.model.change import Tenant
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.model.topic import Topic
from broker.store import keys
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record, Subscriptions
from tests.conformance.test_delivery_state import KEY, change, subscription
from tests.stores import redis_of


class CountedSubscriptions(Subscriptions):
    """Counts how often a follower looks."""

    looks = 0

    async def get(self, tenant: Tenant, subscription_id: SubscriptionId) -> Record | None:
        self.looks += 1
        return await super().get(tenant, subscription_id)


class NoTopics:
    """A catalog without topics."""

    def bound(self, canonical: str) -> Topic | None:
        return None


async def test_a_follower_of_events_that_are_no_longer_kept_rests_until_there_are_new_ones(
    store: Store,
) -> None:
    """It asked the store without pause, as long as the connection lasted."""
    subscriptions, outboxes = CountedSubscriptions(store), Outboxes(store)
    await subscriptions.put(
        replace(subscription(), status=SubscriptionStatus.ACTIVE), create=True, is_pushed=False
    )
    await outboxes.append(0, 1, {KEY: [change(1), change(2)]})
    await redis_of(store).xtrim(keys.outbox(store.layout.shard_of(*KEY), *KEY), maxlen=0, approximate=False)
    schedule = Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog")
    composer = Composer(Resources(store), NoTopics())
    following = Following(subscriptions, outboxes, composer, WakeupListener(schedule), SystemClock())
    told = following.follow(*KEY, after=0)
    assert (await anext(told)).type is NotificationType.HANDSHAKE
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(told)
    assert subscriptions.looks <= 4
