"""Events that can't be rendered, on a real store: they become dead letters in one step."""

import pytest

from broker.model.outcome import Advance, MarkError, MoveToDeadLetters, Retry
from broker.model.subscription import SubscriptionStatus
from broker.store import keys
from broker.store.protocol import Store
from tests.conformance.dead_letter_fixture import FAILURE, KEY, LetterDesk, numbers_of
from tests.stores import redis_of


@pytest.fixture
async def broker_fixture(store: Store) -> LetterDesk:
    broker_fixture = LetterDesk(store)
    await broker_fixture.activate()
    return broker_fixture


@pytest.mark.parametrize(
    ("broken", "sent"),
    [
        ((1,), [[2, 3, 4, 5], [6]]),
        ((2,), [[1], [3, 4, 5, 6]]),
        ((4,), [[1, 2, 3], [5, 6]]),
        ((1, 2, 4), [[3], [5, 6]]),
        ((1, 2, 3, 4), [[5, 6]]),
    ],
)
async def test_the_events_that_can_be_rendered_are_delivered_in_order_around_those_set_aside(
    broker_fixture: LetterDesk, broken: tuple[int, ...], sent: list[list[int]]
) -> None:
    await broker_fixture.append(1, 2, 3, 4, 5, 6)
    assert (
        await broker_fixture.deliver(await broker_fixture.set_aside(await broker_fixture.take(), *broken))
        == sent
    )
    record = await broker_fixture.record()
    assert (record.count, record.cursor, record.dead_letters) == (6, 6, len(broken))
    assert record.subscription.status is SubscriptionStatus.ACTIVE


async def test_the_only_event_set_aside_leaves_nothing_to_send_and_the_error_in_the_status(
    broker_fixture: LetterDesk,
) -> None:
    await broker_fixture.append(1)
    assert await broker_fixture.set_aside(await broker_fixture.take(), 1) is None
    record = await broker_fixture.record()
    assert (record.cursor, record.error) == (1, FAILURE)
    await broker_fixture.append(2)
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[2]]
    told = (await broker_fixture.record()).errors
    assert [report.text.split(" ")[0] for report in told] == ["1"], "that there is a dead letter"


async def test_a_commit_that_is_repeated_sets_nothing_aside_twice(
    broker_fixture: LetterDesk, store: Store
) -> None:
    await broker_fixture.append(1, 2)
    claim = await broker_fixture.take()
    following = await broker_fixture.set_aside(claim, 1)
    again = (
        await broker_fixture.schedule.commit(claim, MoveToDeadLetters((), FAILURE), take_next=True)
    ).next_claim
    assert following is not None
    assert again is not None
    assert (again.token, again.events) == (following.token, following.events)
    assert await redis_of(store).zcard(keys.dead_events(broker_fixture.shard, *KEY)) == 1


async def test_failures_to_build_are_counted_apart_from_those_of_the_endpoint_and_per_notification(
    broker_fixture: LetterDesk,
) -> None:
    await broker_fixture.append(1)
    for is_unbuilt in (False, True, False, True):
        await broker_fixture.schedule.commit(
            await broker_fixture.take(), Retry(0, FAILURE, is_unbuilt), take_next=False
        )
    claim = await broker_fixture.take()
    assert (claim.attempts, claim.build_failures) == (4, 2)
    await broker_fixture.append(2)
    following = (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).next_claim
    assert following is not None
    assert (numbers_of(following), following.attempts, following.build_failures) == ([2], 0, 0)


async def test_where_only_all_together_break_they_go_out_one_by_one(broker_fixture: LetterDesk) -> None:
    await broker_fixture.append(1, 2)
    claim = await broker_fixture.take()
    await broker_fixture.schedule.commit(claim, Retry(0, FAILURE, is_build_failure=True), take_next=False)
    alone = await broker_fixture.set_aside(await broker_fixture.take())
    assert alone is not None
    assert (numbers_of(alone), alone.attempts, alone.build_failures) == ([1], 0, 0)
    assert await broker_fixture.deliver(alone) == [[1], [2]]
    assert (await broker_fixture.record()).dead_letters == 0


async def test_what_was_set_aside_stays_so_over_an_error_and_a_new_registration(
    broker_fixture: LetterDesk,
) -> None:
    await broker_fixture.append(1, 2, 3)
    following = await broker_fixture.set_aside(await broker_fixture.take(), 2)
    assert following is not None
    await broker_fixture.schedule.commit(following, MarkError(FAILURE), take_next=False)
    await broker_fixture.activate()
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[1], [3]]
    assert (await broker_fixture.record()).dead_letters == 1


async def test_deleting_a_subscription_forgets_what_was_set_aside(
    broker_fixture: LetterDesk, store: Store
) -> None:
    await broker_fixture.append(1)
    await broker_fixture.set_aside(await broker_fixture.take(), 1)
    assert await redis_of(store).hlen(keys.dead_event_index(broker_fixture.shard, KEY[0])) == 1
    await broker_fixture.subscriptions.delete(*KEY)
    assert (
        await redis_of(store).exists(
            keys.dead_events(broker_fixture.shard, *KEY),
            keys.dead_event_index(broker_fixture.shard, KEY[0]),
        )
        == 0
    )
