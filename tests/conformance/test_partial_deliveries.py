"""Events that the receiver decided about one by one, on a real store: the cursor moves behind them, those
that it refused become dead letters, and the rest is a notification of its own.
"""

import pytest

from broker.model.outcome import AdvanceTo, UndeliverableEvent
from broker.model.subscription import SubscriptionStatus
from broker.store.protocol import Store
from broker.store.scripts.dead_letters import redrive_events
from tests.conformance.dead_letter_fixture import FAILURE, KEY, DeadLetterFixture, numbers_of


@pytest.fixture
async def broker_fixture(store: Store) -> DeadLetterFixture:
    broker_fixture = DeadLetterFixture(store)
    await broker_fixture.activate()
    return broker_fixture


def advance_to(last: int, *refused: int, delay_ms: int = 0) -> AdvanceTo:
    events = tuple(UndeliverableEvent(n, f"the server answered 422: event {n}") for n in refused)
    return AdvanceTo(last, last - len(refused), events, FAILURE, delay_ms)


@pytest.mark.parametrize(
    ("last", "refused", "sent"),
    [
        (4, (2,), [[5, 6]]),
        (4, (1, 2, 3, 4), [[5, 6]]),
        (2, (), [[3, 4, 5, 6]]),
        (2, (1,), [[3, 4, 5, 6]]),
    ],
)
async def test_the_rest_is_sent_in_order_and_nothing_twice(
    broker_fixture: DeadLetterFixture, last: int, refused: tuple[int, ...], sent: list[list[int]]
) -> None:
    await broker_fixture.append(1, 2, 3, 4, 5, 6)
    claim = await broker_fixture.take()
    committed = await broker_fixture.schedule.commit(claim, advance_to(last, *refused), take_next=True)
    assert await broker_fixture.deliver(committed.next_claim) == sent
    record = await broker_fixture.record()
    assert (record.count, record.cursor, record.dead_letters) == (6, 6, len(refused))
    assert record.subscription.status is SubscriptionStatus.ACTIVE


async def test_the_rest_waits_as_long_as_the_receiver_asks(broker_fixture: DeadLetterFixture) -> None:
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    committed = await broker_fixture.schedule.commit(claim, advance_to(1, delay_ms=60_000), take_next=True)
    assert committed.next_claim is None
    assert committed.next_in_ms is not None
    assert 0 < committed.next_in_ms <= 60_000
    assert (await broker_fixture.record()).error == FAILURE
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()


async def test_a_repeated_commit_creates_no_second_dead_letter(broker_fixture: DeadLetterFixture) -> None:
    await broker_fixture.append(1, 2)
    claim = await broker_fixture.take()
    for _ in range(2):
        await broker_fixture.schedule.commit(claim, advance_to(2, 1), take_next=False)
    assert (await broker_fixture.record()).dead_letters == 1


async def test_a_redriven_event_that_is_refused_again_is_a_dead_letter_again(
    broker_fixture: DeadLetterFixture, store: Store
) -> None:
    await broker_fixture.append(1, 2, 3)
    claim = await broker_fixture.take()
    await broker_fixture.schedule.commit(claim, advance_to(3, 2), take_next=False)
    assert await redrive_events(store, KEY, [2], max_bytes=1_000) == ["accepted"]
    claim = await broker_fixture.take()
    assert numbers_of(claim) == [2]
    await broker_fixture.schedule.commit(claim, advance_to(2, 2), take_next=False)
    assert (await broker_fixture.record()).dead_letters == 1
