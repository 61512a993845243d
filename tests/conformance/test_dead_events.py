"""Events that can't be rendered, on a real store: they become dead letters in one step."""

import pytest

from broker.model.outcome import Advance, MarkError, MoveToDeadLetters, Retry
from broker.model.subscription import SubscriptionStatus
from broker.store import keys
from broker.store.protocol import Store
from tests.conformance.dead_letter_fixture import FAILURE, KEY, DeadLetterFixture, numbers_of
from tests.stores import redis_of


@pytest.fixture
async def broker_fixture(store: Store) -> DeadLetterFixture:
    broker_fixture = DeadLetterFixture(store)
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
async def test_renderable_events_are_delivered_in_order_around_the_dead_letters(
    broker_fixture: DeadLetterFixture, broken: tuple[int, ...], sent: list[list[int]]
) -> None:
    await broker_fixture.append(1, 2, 3, 4, 5, 6)
    assert (
        await broker_fixture.deliver(
            await broker_fixture.create_dead_letters(await broker_fixture.take(), *broken)
        )
        == sent
    )
    record = await broker_fixture.record()
    assert (record.count, record.cursor, record.dead_letters) == (6, 6, len(broken))
    assert record.subscription.status is SubscriptionStatus.ACTIVE


async def test_when_the_only_event_becomes_a_dead_letter_nothing_is_sent_and_the_status_reports_it(
    broker_fixture: DeadLetterFixture,
) -> None:
    await broker_fixture.append(1)
    assert await broker_fixture.create_dead_letters(await broker_fixture.take(), 1) is None
    record = await broker_fixture.record()
    assert (record.cursor, record.error) == (1, FAILURE)
    await broker_fixture.append(2)
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[2]]
    errors = (await broker_fixture.record()).errors
    assert [report.text.split(" ")[0] for report in errors] == ["1"], "that there is a dead letter"


async def test_a_repeated_commit_creates_no_second_dead_letter(
    broker_fixture: DeadLetterFixture, store: Store
) -> None:
    await broker_fixture.append(1, 2)
    claim = await broker_fixture.take()
    following = await broker_fixture.create_dead_letters(claim, 1)
    again = (
        await broker_fixture.schedule.commit(claim, MoveToDeadLetters((), FAILURE), take_next=True)
    ).next_claim
    assert following is not None
    assert again is not None
    assert (again.token, again.events) == (following.token, following.events)
    assert await redis_of(store).zcard(keys.dead_events(broker_fixture.shard, *KEY)) == 1


async def test_build_failures_are_counted_per_notification_and_apart_from_failed_sends(
    broker_fixture: DeadLetterFixture,
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


async def test_events_that_can_only_be_rendered_alone_are_sent_one_by_one(
    broker_fixture: DeadLetterFixture,
) -> None:
    await broker_fixture.append(1, 2)
    claim = await broker_fixture.take()
    await broker_fixture.schedule.commit(claim, Retry(0, FAILURE, is_build_failure=True), take_next=False)
    alone = await broker_fixture.create_dead_letters(await broker_fixture.take())
    assert alone is not None
    assert (numbers_of(alone), alone.attempts, alone.build_failures) == ([1], 0, 0)
    assert await broker_fixture.deliver(alone) == [[1], [2]]
    assert (await broker_fixture.record()).dead_letters == 0


async def test_dead_letters_outlast_an_error_and_a_new_registration(
    broker_fixture: DeadLetterFixture,
) -> None:
    await broker_fixture.append(1, 2, 3)
    following = await broker_fixture.create_dead_letters(await broker_fixture.take(), 2)
    assert following is not None
    await broker_fixture.schedule.commit(following, MarkError(FAILURE), take_next=False)
    await broker_fixture.activate()
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[1], [3]]
    assert (await broker_fixture.record()).dead_letters == 1


async def test_deleting_a_subscription_deletes_its_dead_letters(
    broker_fixture: DeadLetterFixture, store: Store
) -> None:
    await broker_fixture.append(1)
    await broker_fixture.create_dead_letters(await broker_fixture.take(), 1)
    assert await redis_of(store).hlen(keys.dead_event_index(broker_fixture.shard, KEY[0])) == 1
    await broker_fixture.subscriptions.delete(*KEY)
    assert (
        await redis_of(store).exists(
            keys.dead_events(broker_fixture.shard, *KEY),
            keys.dead_event_index(broker_fixture.shard, KEY[0]),
        )
        == 0
    )
