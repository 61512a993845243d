"""An outbox has a limit: delivered events make room silently, waiting ones as a reported gap."""

import pytest

from broker.model.gap import GapReason
from broker.model.notification import NotificationType
from broker.model.outcome import Advance
from broker.model.subscription import SubscriptionStatus
from broker.store.claims import Claim
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record, Subscriptions
from tests.conformance.delivery_fixture import KEY, change
from tests.stores import changes_of, counts_of
from tests.subscriptions import stored_subscription

MOST = 20


class BrokerFixture:
    """One subscription whose outbox is small."""

    def __init__(self, server: Store) -> None:
        self.subscriptions = Subscriptions(server)
        self.outboxes = Outboxes(server, max_events=MOST)
        self.schedule = Schedule(server, lease_ms=60_000, max_bytes=10_000, resume="backlog")
        self.shard = server.layout.shard_of(*KEY)

    async def take(self) -> Claim:
        (claim,) = (await self.schedule.claim(self.shard, 10)).claims
        return claim

    async def ask(self, *, is_pushed: bool = True) -> None:
        """Puts the document: a handshake is due, or, where nothing is pushed, it is active."""
        document = stored_subscription(max_count=5)
        if not is_pushed:
            document = document.changed(status=SubscriptionStatus.ACTIVE)
        await self.subscriptions.put(document, create=False, is_pushed=is_pushed)

    async def activate(self) -> None:
        await self.ask()
        claim = await self.take()
        assert claim.type is NotificationType.HANDSHAKE
        await self.schedule.commit(claim, Advance(), take_next=False)

    async def append(self, first: int, last: int) -> int:
        return await self.outboxes.append(0, 1, {KEY: [change(n) for n in range(first, last + 1)]})

    async def record(self) -> Record:
        found = await self.subscriptions.get(*KEY)
        assert found is not None
        return found

    async def numbers(self) -> list[int]:
        return [event.number for event in await self.outboxes.read(*KEY, None, None, limit=10_000)]

    async def gaps(self) -> list[tuple[int, int, GapReason]]:
        return [(gap.low, gap.high, gap.reason) for gap in (await self.record()).gaps]


@pytest.fixture
async def broker_fixture(store: Store) -> BrokerFixture:
    broker_fixture = BrokerFixture(store)
    await broker_fixture.activate()
    return broker_fixture


async def test_an_outbox_at_its_limit_loses_nothing(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.append(1, MOST)
    assert (await broker_fixture.record()).subscription.status is SubscriptionStatus.ACTIVE
    assert await broker_fixture.numbers() == list(range(1, MOST + 1))
    assert (await broker_fixture.record()).errors == ()


async def test_an_event_beyond_the_limit_marks_the_error_and_reports_the_gap(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    follower = RegistryFollower(store)
    await changes_of(follower)
    await broker_fixture.append(1, MOST)
    claim = await broker_fixture.take()
    await broker_fixture.append(MOST + 1, MOST + 1)
    record = await broker_fixture.record()
    assert record.subscription.status is SubscriptionStatus.ERROR
    assert record.count == MOST + 1, "the count stays true"
    assert await broker_fixture.gaps() == [(1, 1, GapReason.SIZE)]
    assert "event 1 is missing" in record.errors[0].text
    assert "BROKER_MAX_OUTBOX" in (record.subscription.error or "")
    assert await broker_fixture.numbers() == list(range(2, MOST + 2))
    assert (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).is_stale
    assert (await counts_of(store)).events_given_up[GapReason.SIZE] == 1
    assert [key for key, _ in await changes_of(follower)] == [KEY], "the matchers follow"
    assert (await broker_fixture.schedule.claim(broker_fixture.shard, 10)).claims == ()


async def test_in_error_the_newest_nine_tenths_are_kept_and_one_gap_grows(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.append(1, 100)
    for n in range(101, 151):
        await broker_fixture.append(n, n)
    kept = MOST * 9 // 10
    assert await broker_fixture.numbers() == list(range(151 - kept, 151))
    assert await broker_fixture.gaps() == [(1, 150 - kept, GapReason.SIZE)]
    assert (await broker_fixture.record()).count == 150


async def test_a_reactivation_continues_behind_the_gap_while_events_keep_arriving(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.append(1, 50)
    await broker_fixture.append(51, 51)  # in error by now: trimmed to nine tenths
    first = (await broker_fixture.numbers())[0]
    await broker_fixture.ask()
    assert (await broker_fixture.record()).errors == (), "the client has answered"
    await broker_fixture.append(52, 53)
    claim = await broker_fixture.take()
    assert claim.type is NotificationType.HANDSHAKE
    committed = await broker_fixture.schedule.commit(claim, Advance(), take_next=True)
    numbers: list[int] = []
    while committed.next_claim is not None:
        numbers += [event.number for event in committed.next_claim.events]
        committed = await broker_fixture.schedule.commit(committed.next_claim, Advance(), take_next=True)
    assert numbers == list(range(first, 54))
    record = await broker_fixture.record()
    assert record.subscription.status is SubscriptionStatus.ACTIVE
    assert [(gap.low, gap.high) for gap in record.gaps] == [(1, first - 1)], "$events can still tell"


async def test_a_repeated_call_gives_up_nothing_more(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.append(1, 30)
    numbers, gaps = await broker_fixture.numbers(), await broker_fixture.gaps()
    assert await broker_fixture.append(1, 30) == 0
    assert (await broker_fixture.numbers(), await broker_fixture.gaps()) == (numbers, gaps)


async def test_a_pull_subscription_keeps_its_status_and_reports_the_gap(
    store: Store,
) -> None:
    broker_fixture = BrokerFixture(store)
    await broker_fixture.ask(is_pushed=False)
    await broker_fixture.append(1, MOST + 3)
    record = await broker_fixture.record()
    assert record.subscription.status is SubscriptionStatus.ACTIVE
    assert await broker_fixture.gaps() == [(1, 3, GapReason.SIZE)]
    assert "events 1 to 3 are missing" in record.errors[0].text


async def test_delivered_events_make_room_silently(broker_fixture: BrokerFixture, store: Store) -> None:
    claim = None
    for first in range(1, 1_000, 10):
        await broker_fixture.append(first, first + 9)
        claim = claim or await broker_fixture.take()
        while claim is not None:
            claim = (await broker_fixture.schedule.commit(claim, Advance(), take_next=True)).next_claim
    numbers = await broker_fixture.numbers()
    assert numbers == list(range(numbers[0], 1_001))
    assert len(numbers) <= MOST + 100 + 128, "the bound, the step, and a node of the stream"
    record = await broker_fixture.record()
    assert (record.subscription.status, record.gaps) == (SubscriptionStatus.ACTIVE, ())


async def test_old_gaps_are_forgotten_and_the_newest_are_kept(
    broker_fixture: BrokerFixture,
) -> None:
    for round_ in range(40):
        await broker_fixture.outboxes.append(
            0, 1, {KEY: [change(n) for n in range(round_ * 30 + 1, round_ * 30 + 31)]}
        )
        await broker_fixture.activate()
        committed = await broker_fixture.schedule.commit(
            await broker_fixture.take(), Advance(), take_next=True
        )
        while committed.next_claim is not None:
            committed = await broker_fixture.schedule.commit(committed.next_claim, Advance(), take_next=True)
    gaps = await broker_fixture.gaps()
    assert len(gaps) == 32
    assert gaps[-1][1] < (await broker_fixture.record()).count
    assert [low for low, _, _ in gaps] == sorted(low for low, _, _ in gaps)
