"""The delivery state machine on a real store: numbering, claims, fencing, retries, status, registry."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import DeliveryError, ErrorReport, NotificationType
from broker.model.outcome import Advance, MarkError, Retry, TurnOff
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    PayloadContent,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store.outbox import Fenced, Outboxes
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from broker.store.schedule import Claim, Schedule
from broker.store.subscriptions import Registration, Subscriptions
from tests.conftest import ALL_STORES
from tests.stores import changes_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES

ID = SubscriptionId("one")
KEY = (DEFAULT_TENANT, ID)
FAILURE = ErrorReport(DeliveryError.NO_RESPONSE, "nobody answered")


def change(n: int, size: int = 10) -> Change:
    key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
    return Change(
        f"{n}-0", 0, Version(key, Release.R4, Interaction.CREATE, 1_000 + n, Resource(b"x" * size)), None
    )


class BrokerFixture:
    """One subscription's way through the store."""

    def __init__(self, server: Store, resume: str = "backlog") -> None:
        self.subscriptions = Subscriptions(server)
        self.outboxes = Outboxes(server)
        self.schedule = Schedule(server, lease_ms=60_000, max_bytes=100, resume=resume)  # type: ignore[arg-type]  # a literal
        self.shard = server.layout.shard_of(*KEY)

    async def take(self) -> Claim:
        claimed = await self.schedule.claim(self.shard, 10)
        assert len(claimed.claims) == 1
        return claimed.claims[0]

    async def until_due(self) -> Claim:
        async with asyncio.timeout(20):
            while not (claimed := await self.schedule.claim(self.shard, 10)).claims:  # noqa: ASYNC110 it is due by the store's clock
                await asyncio.sleep(0.01)
        return claimed.claims[0]

    async def activate(self) -> None:
        await self.subscriptions.put(stored_subscription(), create=True)
        await self.schedule.commit(await self.take(), Advance(), take_next=False)

    async def append(self, *numbers: int, token: int = 1) -> int:
        return await self.outboxes.append(0, token, {KEY: [change(n) for n in numbers]})

    async def status(self) -> SubscriptionStatus:
        record = await self.subscriptions.get(*KEY)
        assert record is not None
        return record.subscription.status


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


async def test_an_older_matcher_of_a_partition_is_fenced(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, token=2)
    with pytest.raises(Fenced):
        await broker_fixture.append(5, token=1)
    assert await broker_fixture.append(3, token=2) == 1


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


async def test_a_claim_that_ran_out_is_taken_again_and_the_late_commit_is_refused(store: Store) -> None:
    broker_fixture = BrokerFixture(store)
    broker_fixture.schedule = Schedule(store, lease_ms=0, max_bytes=100, resume="backlog")
    await broker_fixture.subscriptions.put(stored_subscription(), create=True)
    late, newer = await broker_fixture.take(), await broker_fixture.take()
    assert newer.token > late.token
    assert await broker_fixture.schedule.extend([late, newer]) == [late]
    assert (await broker_fixture.schedule.commit(late, Advance(), take_next=True)).is_stale
    assert not (await broker_fixture.schedule.commit(newer, Advance(), take_next=True)).is_stale


async def test_a_commit_whose_reply_was_lost_returns_the_claim_it_took_again(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    committed = await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    again = await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    assert committed.next_claim is not None
    assert again.next_claim is not None
    assert again.next_claim == msgspec.structs.replace(committed.next_claim, now_ms=again.next_claim.now_ms)
    assert [event.number for event in committed.next_claim.events] == [3]
    assert not (
        await broker_fixture.schedule.commit(committed.next_claim, Advance(), take_next=True)
    ).is_stale


async def test_a_retry_whose_reply_was_lost_is_counted_once_and_says_when_it_is_due(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    claim = await broker_fixture.take()
    await broker_fixture.schedule.commit(claim, Retry(40, FAILURE), take_next=True)
    again = await broker_fixture.schedule.commit(claim, Retry(40, FAILURE), take_next=True)
    assert not again.is_stale
    assert again.next_in_ms is not None
    assert again.next_in_ms <= 40
    assert (await broker_fixture.until_due()).attempts == 1


async def test_a_claim_released_after_a_lost_reply_is_due_at_once(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    committed = await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    assert committed.next_claim is not None
    assert not (await broker_fixture.schedule.commit(claim, None, take_next=False)).is_stale
    assert [event.number for event in (await broker_fixture.take()).events] == [3]


async def test_a_commit_is_not_answered_again_once_another_has_claimed(store: Store) -> None:
    broker_fixture = BrokerFixture(store)
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    broker_fixture.schedule = Schedule(store, lease_ms=0, max_bytes=100, resume="backlog")
    await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    newer = await broker_fixture.take()
    assert (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).is_stale
    assert not (await broker_fixture.schedule.commit(newer, Advance(), take_next=True)).is_stale


async def test_a_commit_is_not_answered_again_after_a_new_registration(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    assert (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).is_stale


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
    await broker_fixture.subscriptions.put(replace(stored_subscription(), end_ms=1), create=True)
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()
    assert await broker_fixture.status() is SubscriptionStatus.OFF


async def test_a_released_claim_is_due_again_as_it_was(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    first = await broker_fixture.take()
    await broker_fixture.schedule.commit(first, None, take_next=False)
    again = await broker_fixture.take()
    assert (again.events, again.at_ms, again.attempts) == (first.events, first.at_ms, 0)


async def test_a_deleted_subscription_is_never_due_and_its_commit_is_refused(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1)
    claim = await broker_fixture.take()
    assert (await broker_fixture.subscriptions.delete(*KEY))[0] is Registration.DELETED
    assert (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).is_stale
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()
    assert await broker_fixture.subscriptions.get(*KEY) is None


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


async def test_a_follower_that_fell_behind_the_trimmed_log_starts_over(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    follower = RegistryFollower(store)
    await changes_of(follower)
    for _ in range(300):
        await broker_fixture.subscriptions.put(stored_subscription(), create=False)
    await follower.trim(keep=1)
    changed = await changes_of(follower)
    assert [key for key, record in changed if record] == [KEY]
