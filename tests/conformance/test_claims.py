"""Claims on a real store: leases, fencing, and replies that were lost."""

import msgspec
import pytest

from broker.model.outcome import Advance, Retry
from broker.store.outbox import Fenced
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscriptions import Registration
from tests.conformance.delivery_fixture import FAILURE, KEY, BrokerFixture
from tests.conftest import ALL_STORES
from tests.subscriptions import stored_subscription

STORES = ALL_STORES


@pytest.fixture
async def broker_fixture(store: Store) -> BrokerFixture:
    return BrokerFixture(store)


async def test_an_older_matcher_of_a_partition_is_fenced(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.activate()
    await broker_fixture.append(1, token=2)
    with pytest.raises(Fenced):
        await broker_fixture.append(5, token=1)
    assert await broker_fixture.append(3, token=2) == 1


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
