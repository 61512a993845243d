"""The dispatcher limits the attempts for each concurrency key: a stalled receiver holds up no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.channels.base import SendRequest, StatelessChannel
from broker.clock import SystemClock
from broker.delivery.attempt_log import AttemptLog
from broker.delivery.building import NotificationBuilder
from broker.delivery.composing import Composer
from broker.delivery.engine import DeliveryEngine
from broker.delivery.handshake_pace import HandshakePace
from broker.delivery.owner_access import OpenAccess
from broker.delivery.policy import RetryPolicy
from broker.delivery.rendering import NotificationRenderer
from broker.delivery.subscription_cache import SubscriptionCache
from broker.delivery.wakeups import WakeupListener
from broker.errors import Issue
from broker.model.change import DEFAULT_TENANT
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Delivered, DeliveryOutcome, Refused, Unreachable
from broker.model.subscription import Subscription, SubscriptionId, SubscriptionStatus
from broker.model.topic import Topic
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.store.attempt_records import AttemptLimits
from broker.store.attempts import Attempts
from broker.store.bodies import UNSEALED
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from broker.telemetry.lag import DispatcherLag
from broker.workers.dispatcher import Dispatcher, DispatchLimits
from tests.conformance.delivery_fixture import change
from tests.integration.broker_fixture import until
from tests.subscriptions import stored_subscription

EVENTS = 5


class NoTopics:
    """A catalog without topics."""

    def bound(self, canonical: str) -> Topic | None:
        return None


class FakeChannel(StatelessChannel):
    """Delivers at once, except to the endpoint `stalled`, which holds its attempts until `resumed`, and with
    `failure`, which all attempts meet while it is set.

    The concurrency key is the endpoint, which is not a URL.
    """

    is_pushed = True

    def __init__(self) -> None:
        self.resumed = asyncio.Event()
        self.under_way = 0
        self.max_under_way = 0
        self.delivered: dict[SubscriptionId, list[int]] = {}
        self.failure: DeliveryOutcome | None = None
        self.failed: list[SubscriptionId] = []

    def check(self, subscription: Subscription) -> list[Issue]:
        return []

    def concurrency_key(self, subscription: Subscription) -> str:
        return subscription.channel.endpoint or ""

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        if request.subscription.channel.endpoint == "stalled":
            self.under_way += 1
            self.max_under_way = max(self.max_under_way, self.under_way)
            await self.resumed.wait()
            self.under_way -= 1
        if self.failure is not None:
            self.failed.append(request.subscription.id)
            return self.failure
        numbers = [focus.event.number for focus in request.notification.foci]
        self.delivered.setdefault(request.subscription.id, []).extend(numbers)
        return Delivered()


def schedule_of(store: Store) -> Schedule:
    # nothing is repeated because the machine stands still for a while
    return Schedule(store, lease_ms=60_000, max_bytes=1_000_000, resume="backlog")


@contextlib.asynccontextmanager
async def dispatching(
    store: Store, channel: FakeChannel, limits: DispatchLimits, retry_ms: int = 10
) -> AsyncIterator[None]:
    schedule = schedule_of(store)
    stop = asyncio.Event()
    engine = DeliveryEngine(
        schedule,
        SubscriptionCache(Subscriptions(store), SubscriptionSecrets(None)),
        NotificationBuilder(Composer(Resources(store), NoTopics()), NotificationRenderer("http://broker")),
        {"rest-hook": channel},
        RetryPolicy(base_ms=retry_ms, max_ms=retry_ms, budget_ms=86_400_000, handshake_grace_ms=0),
        SystemClock(),
        DispatcherLag(),
        HandshakePace(0),
        stop,
        max_timeout_s=10,
        access=OpenAccess(),
        log=AttemptLog(Attempts(store, AttemptLimits()), UNSEALED, SystemClock()),
    )
    wakeups = WakeupListener(schedule)
    dispatcher = Dispatcher(schedule, engine, wakeups, stop, drain=timedelta(seconds=5), limits=limits)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wakeups.run(stop))
        tasks.create_task(dispatcher.run())
        try:
            yield
        finally:
            channel.resumed.set()
            stop.set()


async def subscribe(store: Store, name: str, endpoint: str) -> SubscriptionId:
    """An active subscription with events to deliver."""
    subscription = stored_subscription(name, status=SubscriptionStatus.ACTIVE)
    active = subscription.changed(channel=replace(subscription.channel, endpoint=endpoint))
    await Subscriptions(store).put(active, create=True)
    key = (DEFAULT_TENANT, active.id)
    await Outboxes(store).append(0, 1, {key: [change(n) for n in range(1, EVENTS + 1)]})
    return active.id


async def until_delivered(channel: FakeChannel, subscription_id: SubscriptionId) -> None:
    numbers = list(range(1, EVENTS + 1))

    async def is_delivered() -> bool:
        return channel.delivered.get(subscription_id) == numbers

    await until(is_delivered)


async def until_stalled(channel: FakeChannel) -> None:
    """Until an attempt is held."""

    async def is_stalled() -> bool:
        return channel.under_way > 0

    await until(is_stalled)


async def test_an_endpoint_that_stalls_with_many_subscriptions_does_not_hold_up_another(
    store: Store,
) -> None:
    channel = FakeChannel()
    stalled = [await subscribe(store, f"stalled-{n}", "stalled") for n in range(8)]
    async with dispatching(store, channel, DispatchLimits(active_claims=5, attempts_per_key=3)):
        await until_stalled(channel)
        quick = await subscribe(store, "quick", "quick")
        await until_delivered(channel, quick)
        assert channel.max_under_way <= 3
        channel.resumed.set()
        for subscription_id in stalled:
            await until_delivered(channel, subscription_id)


async def test_a_deferred_notification_is_not_a_failed_attempt(store: Store) -> None:
    channel = FakeChannel()
    await subscribe(store, "first", "stalled")
    async with dispatching(store, channel, DispatchLimits(attempts_per_key=1)):
        await until_stalled(channel)
        deferred = await subscribe(store, "second", "stalled")

        async def is_deferred() -> bool:
            return await schedule_of(store).next_attempt_ms(DEFAULT_TENANT, deferred) is not None

        await until(is_deferred)
        record = await Subscriptions(store).get(DEFAULT_TENANT, deferred)
        assert record is not None
        assert (record.error, record.attempts) == (None, 0)
        channel.resumed.set()
        await until_delivered(channel, deferred)


HOUR_MS = 3_600_000
NO_RESPONSE = Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "connection refused"))


async def until_failed(store: Store, channel: FakeChannel, subscriptions: Collection[SubscriptionId]) -> None:
    """Until each has had a failed attempt and waits for the next one. A success before that would not wake
    it.
    """

    async def have_failed() -> bool:
        return set(channel.failed) == set(subscriptions) and all(
            [await retries(store, each) for each in subscriptions]
        )

    await until(have_failed)


async def retries(store: Store, subscription_id: SubscriptionId) -> bool:
    """Whether the subscription waits for its next attempt after one that failed."""
    record = await Subscriptions(store).get(DEFAULT_TENANT, subscription_id)
    assert record is not None
    next_attempt_ms = await schedule_of(store).next_attempt_ms(DEFAULT_TENANT, subscription_id)
    return record.attempts > 0 and next_attempt_ms is not None


async def test_a_success_wakes_those_that_wait_for_the_same_receiver(store: Store) -> None:
    channel = FakeChannel()
    channel.failure = NO_RESPONSE
    waiting = [await subscribe(store, f"waiting-{n}", "ward") for n in range(20)]
    other = await subscribe(store, "other", "elsewhere")
    async with dispatching(store, channel, DispatchLimits(), retry_ms=HOUR_MS):
        await until_failed(store, channel, [*waiting, other])
        channel.failure = None
        first = await subscribe(store, "first", "ward")
        for subscription_id in (first, *waiting):
            await until_delivered(channel, subscription_id)
    assert other not in channel.delivered, "it waits for another receiver"


@pytest.mark.parametrize(
    "failure",
    [
        Refused(is_transient=True, error=ErrorReport(None, "503"), retry_after_s=600, is_unavailable=True),
        Refused(is_transient=True, error=ErrorReport(None, "429")),
    ],
    ids=["the receiver says when", "too many requests"],
)
async def test_a_refusal_of_a_receiver_that_serves_requests_waits_for_its_delay(
    store: Store, failure: DeliveryOutcome
) -> None:
    channel = FakeChannel()
    channel.failure = failure
    refused = await subscribe(store, "refused", "ward")
    async with dispatching(store, channel, DispatchLimits(), retry_ms=HOUR_MS):
        await until_failed(store, channel, [refused])
        channel.failure = None
        first = await subscribe(store, "first", "ward")
        await until_delivered(channel, first)
        # what a success wakes is due before the next commit of the same subscription is
        await Outboxes(store).append(0, 1, {(DEFAULT_TENANT, first): [change(n) for n in range(6, 8)]})

        async def is_delivered() -> bool:
            return channel.delivered[first][-1] == 7

        await until(is_delivered)
        assert await schedule_of(store).next_attempt_ms(DEFAULT_TENANT, refused) is not None
    assert refused not in channel.delivered
