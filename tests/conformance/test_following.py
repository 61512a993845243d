"""What an open connection receives, on a real store, and how often it reads its record."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

import pytest

from broker.channels.pull import PullChannel
from broker.clock import SystemClock
from broker.delivery import following as following_module
from broker.delivery.attempt_log import AttemptLog
from broker.delivery.composing import Composer
from broker.delivery.following import Following
from broker.delivery.owner_access import OpenAccess
from broker.delivery.rendering import NotificationRenderer
from broker.delivery.wakeups import WakeupListener
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.model.topic import Topic
from broker.store import keys
from broker.store.attempt_records import AttemptLimits
from broker.store.attempts import Attempts
from broker.store.bodies import UNSEALED
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.schedule import Schedule, Wakeup
from broker.store.subscriptions import Record, Subscriptions
from tests.conformance.delivery_fixture import KEY, change
from tests.subscriptions import stored_subscription


@pytest.fixture(autouse=True)
def _looks_when_woken_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine that needs long for a test: what a connection does, it does because it was woken."""
    monkeypatch.setattr(following_module, "CHECK_S", 600.0)


class CountingSubscriptions(Subscriptions):
    """Counts how often a record is read."""

    reads = 0

    async def get(self, tenant: Tenant, subscription_id: SubscriptionId) -> Record | None:
        self.reads += 1
        return await super().get(tenant, subscription_id)


class NoTopics:
    """A catalog without topics."""

    def bound(self, canonical: str) -> Topic | None:
        return None


class QueuedWakeups:
    """Stands for the schedule: its wakeups are those that a test puts into the queue."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Wakeup] = asyncio.Queue()

    async def wakeups(self) -> AsyncIterator[Wakeup | None]:
        yield None
        while True:
            yield await self.queue.get()
            self.queue.task_done()


class PushChannel(PullChannel):
    """A channel to which the broker sends."""

    is_pushed = True

    def __init__(self) -> None:
        super().__init__("a test connection")


def following_of(
    store: Store, subscriptions: Subscriptions, wakeups: WakeupListener, channel: PullChannel | None = None
) -> Following:
    composer = Composer(Resources(store), NoTopics())
    channels = {"rest-hook": channel or PullChannel("a test connection")}
    clock = SystemClock()
    log = AttemptLog(Attempts(store, AttemptLimits()), UNSEALED, clock)
    return Following(
        subscriptions,
        Outboxes(store),
        composer,
        wakeups,
        channels,
        clock,
        OpenAccess(),
        NotificationRenderer("http://broker"),
        log,
    )


async def put_pull_subscription(subscriptions: Subscriptions) -> None:
    active = stored_subscription().changed(status=SubscriptionStatus.ACTIVE)
    await subscriptions.put(active, create=True, is_pushed=False)


async def test_a_connection_whose_events_are_no_longer_stored_sleeps_until_there_are_new_ones(
    store: Store,
) -> None:
    """It read the store in a tight loop for as long as the connection lasted."""
    subscriptions = CountingSubscriptions(store)
    await put_pull_subscription(subscriptions)
    await Outboxes(store).append(0, 1, {KEY: [change(1), change(2)]})
    outbox = keys.outbox(store.layout.shard_of(*KEY), *KEY)
    await store.send([("XTRIM", outbox, "MAXLEN", 0)])
    wakeups = WakeupListener(Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog"))
    notifications = following_of(store, subscriptions, wakeups).follow(*KEY, after=0)
    assert (await anext(notifications)).notification.type is NotificationType.HANDSHAKE
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(notifications)
    assert subscriptions.reads <= 4


async def test_a_connection_reads_its_record_only_when_its_own_subscription_has_events(store: Store) -> None:
    subscriptions, schedule = CountingSubscriptions(store), QueuedWakeups()
    await put_pull_subscription(subscriptions)
    listener, stop = WakeupListener(cast("Schedule", schedule)), asyncio.Event()
    listening = asyncio.create_task(listener.run(stop))
    await asyncio.sleep(0)  # the wakeup of the new connection has been forwarded
    notifications = following_of(store, subscriptions, listener).follow(*KEY, after=None)
    assert (await anext(notifications)).notification.type is NotificationType.HANDSHAKE
    event = asyncio.ensure_future(anext(notifications))
    while subscriptions.reads < 2:  # noqa: ASYNC110 the store answers
        await asyncio.sleep(0.01)
    shard = store.layout.shard_of(*KEY)
    other = (DEFAULT_TENANT, SubscriptionId("other"))
    for _ in range(100):
        schedule.queue.put_nowait(Wakeup(shard, frozenset({other})))
        await schedule.queue.join()
        await asyncio.sleep(0)
    assert subscriptions.reads == 2
    await Outboxes(store).append(0, 1, {KEY: [change(1)]})
    schedule.queue.put_nowait(Wakeup(shard, frozenset({KEY})))
    async with asyncio.timeout(60):
        assert [focus.event.number for focus in (await event).notification.foci] == [1]
    assert subscriptions.reads == 3
    stop.set()
    await listening


async def test_the_store_names_the_pull_subscriptions_that_got_events(store: Store) -> None:
    subscriptions = Subscriptions(store)
    await put_pull_subscription(subscriptions)
    wakeups = Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog").wakeups()
    assert isinstance(wakeups, AsyncGenerator)
    async with contextlib.aclosing(wakeups), asyncio.timeout(60):
        assert await anext(wakeups) is None
        await Outboxes(store).append(0, 1, {KEY: [change(1)]})
        assert await anext(wakeups) == Wakeup(store.layout.shard_of(*KEY), frozenset({KEY}))


async def test_the_store_names_a_subscription_of_another_channel_while_a_connection_follows_it(
    store: Store,
) -> None:
    subscriptions, schedule = CountingSubscriptions(store), QueuedWakeups()
    active = stored_subscription().changed(status=SubscriptionStatus.ACTIVE)
    await subscriptions.put(active, create=True, is_pushed=True)
    shard = store.layout.shard_of(*KEY)
    wakeups = Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog").wakeups()
    assert isinstance(wakeups, AsyncGenerator)
    listener, stop = WakeupListener(cast("Schedule", schedule)), asyncio.Event()
    listening = asyncio.create_task(listener.run(stop))
    await asyncio.sleep(0)  # the wakeup of the new connection has been forwarded
    following = following_of(store, subscriptions, listener, channel=PushChannel())
    async with contextlib.aclosing(wakeups), asyncio.timeout(60):
        assert await anext(wakeups) is None
        await Outboxes(store).append(0, 1, {KEY: [change(1)]})
        assert await anext(wakeups) == Wakeup(shard, frozenset()), "nobody follows it yet"
        notifications = following.follow(*KEY, after=0)
        assert (await anext(notifications)).notification.type is NotificationType.HANDSHAKE
        assert [focus.event.number for focus in (await anext(notifications)).notification.foci] == [1]
        event = asyncio.ensure_future(anext(notifications))
        while subscriptions.reads < 3:  # noqa: ASYNC110 the store answers
            await asyncio.sleep(0.01)
        schedule.queue.put_nowait(Wakeup(shard, frozenset()))
        await schedule.queue.join()
        await asyncio.sleep(0)
        assert subscriptions.reads == 3, "a wakeup of the shard is not one of the subscription"
        await Outboxes(store).append(0, 1, {KEY: [change(2)]})
        wakeup = await anext(wakeups)
        assert wakeup is not None
        assert wakeup.readers == {KEY}
        schedule.queue.put_nowait(wakeup)
        assert [focus.event.number for focus in (await event).notification.foci] == [2]
    stop.set()
    await listening


@pytest.mark.parametrize("ending", ["deleted", "error"])
async def test_a_connection_ends_as_soon_as_its_subscription_does(store: Store, ending: str) -> None:
    subscriptions = Subscriptions(store)
    await put_pull_subscription(subscriptions)
    schedule = Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog")
    listener, stop = WakeupListener(schedule), asyncio.Event()
    listening = asyncio.create_task(listener.run(stop))
    notifications = following_of(store, subscriptions, listener).follow(*KEY, after=None)
    assert (await anext(notifications)).notification.type is NotificationType.HANDSHAKE
    following = asyncio.ensure_future(anext(notifications, None))
    async with asyncio.timeout(60):
        await asyncio.sleep(0.2)  # the connection sleeps by now; if not, the test passes all the same
        if ending == "deleted":
            await subscriptions.delete(*KEY)
        else:
            record = await subscriptions.get(*KEY)
            assert record is not None
            await subscriptions.fail(record, "its topic was removed")
        assert await following is None
    stop.set()
    await listening
