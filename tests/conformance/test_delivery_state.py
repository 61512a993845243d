"""The delivery state machine on a real store: numbering, claims, fencing, retries, status, registry."""

import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.notification import NotificationType
from broker.model.outcome import Advance, MarkError, Retry, TurnOff
from broker.model.subscription import (
    PayloadContent,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store import keys
from broker.store.claims import Claim
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from tests.conformance.delivery_fixture import FAILURE, KEY, BrokerFixture, change
from tests.conftest import ALL_STORES
from tests.stores import changes_of, redis_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES


@pytest.fixture
async def broker_fixture(store: Store) -> BrokerFixture:
    return BrokerFixture(store)


async def test_a_new_subscription_is_due_for_a_handshake_and_active_after_it(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscriptions.put(stored_subscription(), create=True)
    claim = await broker_fixture.take()
    assert (claim.type, claim.count, claim.status) == (
        NotificationType.HANDSHAKE,
        0,
        SubscriptionStatus.REQUESTED,
    )
    committed = await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    assert (committed.status, committed.next_claim, committed.next_in_ms) == (
        SubscriptionStatus.ACTIVE,
        None,
        None,
    )


async def test_a_handshake_waits_for_its_head_start_unless_woken(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.subscriptions.put(stored_subscription(), create=True, handshake_in_ms=60_000)
    claimed = await broker_fixture.schedule.claim(broker_fixture.shard, 10)
    assert claimed.claims == ()
    assert 0 < (claimed.next_in_ms or 0) <= 60_000
    await broker_fixture.schedule.wake(*KEY)
    assert (await broker_fixture.take()).type is NotificationType.HANDSHAKE
    await broker_fixture.schedule.wake(*KEY)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == (), (
        "a claim under way is not taken twice"
    )


async def test_a_failed_notification_is_due_at_once_when_asked(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    assert not await broker_fixture.schedule.attempt_now(*KEY), "it has not failed"
    claim = await broker_fixture.take()
    assert not await broker_fixture.schedule.attempt_now(*KEY), "its attempt is under way"
    await broker_fixture.schedule.commit(claim, Retry(3_600_000, FAILURE), take_next=False)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()
    assert await broker_fixture.schedule.attempt_now(*KEY)
    assert await broker_fixture.schedule.attempt_now(*KEY)
    again = await broker_fixture.take()
    assert (again.events, again.attempts) == (claim.events, 1)
    assert not await broker_fixture.schedule.attempt_now(DEFAULT_TENANT, SubscriptionId("nobody"))


async def test_events_are_numbered_from_one_and_a_repeated_append_adds_none(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    assert await broker_fixture.append(1, 2, 3) == 3
    assert await broker_fixture.append(1, 2, 3) == 0
    assert await broker_fixture.append(2, 3, 4) == 1
    events = await broker_fixture.outboxes.read(*KEY, None, None, limit=10)
    assert [(event.number, event.focus.id) for event in events] == [
        (1, "o1"),
        (2, "o2"),
        (3, "o3"),
        (4, "o4"),
    ]


async def test_nothing_is_numbered_before_the_first_activation_or_while_off(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscriptions.put(stored_subscription(), create=True)
    assert await broker_fixture.append(1) == 0
    await broker_fixture.schedule.commit(await broker_fixture.take(), TurnOff(FAILURE), take_next=False)
    assert await broker_fixture.append(2) == 0
    assert await broker_fixture.status() is SubscriptionStatus.OFF


async def test_a_backlog_is_sent_in_order_in_batches_of_max_count(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3, 4, 5)
    claim = await broker_fixture.take()
    batches = []
    while True:
        batches.append([event.number for event in claim.events])
        assert claim.count == claim.events[-1].number
        following = (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).next_claim
        if following is None:
            break
        claim = following
    assert batches == [[1, 2], [3, 4], [5]]


async def test_resources_in_one_notification_are_bounded_in_bytes(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.subscriptions.put(
        stored_subscription(content=PayloadContent.FULL_RESOURCE, max_count=10), create=True
    )
    await broker_fixture.schedule.commit(await broker_fixture.take(), Advance(), take_next=False)
    await broker_fixture.outboxes.append(
        0, 1, {KEY: [change(1, 60), change(2, 60), change(3, 500), change(4, 1)]}
    )
    sizes = []
    claim: Claim | None = await broker_fixture.take()
    while claim:
        sizes.append(len(claim.events))
        claim = (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).next_claim
    assert sizes == [1, 1, 1, 1]


async def test_a_retry_sends_the_identical_notification_although_more_events_came(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    first = await broker_fixture.take()
    committed = await broker_fixture.schedule.commit(first, Retry(delay_ms=0, error=FAILURE), take_next=True)
    assert committed.status is SubscriptionStatus.ACTIVE
    await broker_fixture.append(2)
    again = await broker_fixture.take()
    assert (again.events, again.at_ms, again.count) == (first.events, first.at_ms, first.count)
    assert again.attempts == 1
    assert again.since_ms > 0
    record = await broker_fixture.subscriptions.get(*KEY)
    assert record is not None
    assert record.error == FAILURE, "$status tells while retries go on"


async def test_events_that_arrive_during_a_backoff_do_not_shorten_it(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    await broker_fixture.schedule.commit(
        await broker_fixture.take(), Retry(delay_ms=60_000, error=FAILURE), take_next=False
    )
    await broker_fixture.append(2)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()


async def test_in_error_events_are_counted_and_delivered_after_reactivation(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    await broker_fixture.schedule.commit(await broker_fixture.take(), MarkError(FAILURE), take_next=True)
    assert await broker_fixture.status() is SubscriptionStatus.ERROR
    await broker_fixture.append(2)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()
    await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    await broker_fixture.append(3)
    handshake = await broker_fixture.take()
    assert (handshake.type, handshake.count) == (NotificationType.HANDSHAKE, 3)
    following = (await broker_fixture.schedule.commit(handshake, Advance(), take_next=True)).next_claim
    assert following is not None
    assert [event.number for event in following.events] == [1, 2]


async def test_resume_newest_skips_the_backlog_but_keeps_it_readable(store: Store) -> None:
    broker_fixture = BrokerFixture(store, resume="newest")
    await broker_fixture.activate()
    await broker_fixture.append(1)
    await broker_fixture.schedule.commit(await broker_fixture.take(), MarkError(FAILURE), take_next=False)
    await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    committed = await broker_fixture.schedule.commit(await broker_fixture.take(), Advance(), take_next=True)
    assert committed.next_claim is None
    assert len(await broker_fixture.outboxes.read(*KEY, None, None, limit=10)) == 1


async def test_a_document_replaced_during_its_handshake_gets_another_handshake(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscriptions.put(stored_subscription(), create=True)
    first = await broker_fixture.take()
    await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    committed = await broker_fixture.schedule.commit(first, Advance(), take_next=True)
    assert committed.status is SubscriptionStatus.REQUESTED
    assert committed.next_claim is not None
    assert committed.next_claim.revision != first.revision


async def test_a_heartbeat_is_due_when_a_period_passed_without_a_notification(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscriptions.put(stored_subscription(heartbeat_s=60), create=True)
    committed = await broker_fixture.schedule.commit(await broker_fixture.take(), Advance(), take_next=True)
    assert committed.next_claim is None
    assert 59_000 < (committed.next_in_ms or 0) <= 60_000
    await broker_fixture.append(1)
    assert (await broker_fixture.take()).type is NotificationType.EVENT_NOTIFICATION


async def test_end_turns_a_subscription_off(broker_fixture: BrokerFixture, store: Store) -> None:
    await broker_fixture.subscriptions.put(stored_subscription().changed(end_ms=1), create=True)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()
    assert await broker_fixture.status() is SubscriptionStatus.OFF


async def test_a_follower_gets_every_subscription_first_and_then_the_changed_ones(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.activate()
    follower = RegistryFollower(store)
    changed = await changes_of(follower)
    assert [(key, record.activation.counts_events if record else None) for key, record in changed] == [
        (KEY, True)
    ]
    assert await changes_of(follower) == []
    await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    await broker_fixture.subscriptions.delete(*KEY)
    assert await changes_of(follower) == [(KEY, None)]


@pytest.mark.parametrize(("keep", "keep_ms"), [(1, 600_000), (10_000, -2_000)], ids=["number", "age"])
async def test_a_follower_that_fell_behind_the_trimmed_log_starts_over(
    broker_fixture: BrokerFixture, store: Store, keep: int, keep_ms: int
) -> None:
    follower = RegistryFollower(store)
    await changes_of(follower)
    for _ in range(300):
        await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    await follower.trim(keep, keep_ms)
    assert await redis_of(store).xlen(keys.registry(store.layout.shard_of(*KEY))) < 300
    changed = await changes_of(follower)
    assert [key for key, record in changed if record] == [KEY]
