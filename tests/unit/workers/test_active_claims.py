"""The dispatcher's claims, each in its task."""

import asyncio

import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store.claims import Claim
from broker.workers.active_claims import ActiveClaims


def claim_of(name: str, token: int) -> Claim:
    return Claim(
        tenant=DEFAULT_TENANT,
        id=SubscriptionId(name),
        shard=0,
        token=token,
        type=NotificationType.HEARTBEAT,
        status=SubscriptionStatus.ACTIVE,
        count=0,
        at_ms=0,
        attempts=0,
        since_ms=0,
        now_ms=0,
        events=(),
        revision="r",
    )


async def wait_forever() -> None:
    await asyncio.Event().wait()


async def test_a_claim_takes_a_place_until_its_task_has_ended() -> None:
    active = ActiveClaims(limit=2)
    task = asyncio.create_task(wait_forever())
    active.add(claim_of("a", 1), task)
    assert active.free == 1
    freed = asyncio.create_task(active.wait_until_free())
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(60):
        await freed
    assert active.free == 2
    assert list(active.tasks) == []


async def test_a_newer_claim_of_a_subscription_cancels_the_older_attempt() -> None:
    active = ActiveClaims(limit=2)
    older, newer = (asyncio.create_task(wait_forever()) for _ in range(2))
    active.add(claim_of("a", 1), older)
    active.add(claim_of("a", 2), newer)
    with pytest.raises(asyncio.CancelledError):
        await older
    assert not newer.done()
    assert list(active.tasks) == [newer]
    newer.cancel()


async def test_a_claim_that_was_replaced_is_no_longer_current() -> None:
    active = ActiveClaims(limit=1)
    first, following = claim_of("a", 1), claim_of("a", 2)
    task = asyncio.create_task(wait_forever())
    active.add(first, task)
    assert active.older_than(-1) == {task: first}
    active.replace(task, following)
    assert not active.is_current(task, first)
    assert active.is_current(task, following)
    assert active.older_than(60) == {}
    task.cancel()
