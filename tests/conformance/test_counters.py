"""Counters that the scripts keep, on a real store: they say what the data says, and count nothing twice."""

from collections import Counter

import pytest

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.gap import GapReason
from broker.model.notification import ErrorReport
from broker.model.outcome import (
    Advance,
    Decision,
    MarkError,
    MoveToDeadLetters,
    Retry,
    TurnOff,
    UndeliverableEvent,
)
from broker.model.release import Release
from broker.model.subscription import (
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store.changes import Changes
from broker.store.claims import Claim
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letters import DeadLetterFilter, DeadLetters
from broker.store.leases import Leases
from broker.store.outbox import Outboxes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.retention import Limits, Retention
from broker.store.rollback import RollbackDetector
from broker.store.schedule import Schedule
from broker.store.scripts.outbox import skip_numbers
from broker.store.subscriptions import Subscriptions
from tests.conftest import ALL_STORES
from tests.matched import make_dead_letter, mark_matched, unmatched
from tests.stores import counts_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
FAILURE = ErrorReport(None, "no answer")
MAX_EVENTS = 10


def subscription(name: str, *, is_pull: bool = False) -> Subscription:
    if is_pull:
        return stored_subscription(name, channel="websocket", status=SubscriptionStatus.ACTIVE)
    return stored_subscription(name)


class Deliveries:
    """Registers subscriptions, appends events to them, and plays the dispatcher."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.subscriptions = Subscriptions(store)
        self.outboxes = Outboxes(store, max_events=MAX_EVENTS)
        self.schedule = Schedule(store, lease_ms=60_000, max_bytes=1_000, resume="backlog")
        self._changes = 0
        self._claims: dict[SubscriptionId, Claim] = {}

    async def register(self, name: str, *, is_pull: bool = False) -> None:
        await self.subscriptions.put(subscription(name, is_pull=is_pull), create=False, is_pushed=not is_pull)
        if not is_pull:
            await self.commit(await self.claim(name), Advance(), "delivered")

    async def append(self, name: str, count: int) -> None:
        changes = []
        for _ in range(count):
            self._changes += 1
            key = VersionKey(DEFAULT_TENANT, "Observation", f"o{self._changes}", 1)
            version = Version(key, Release.R4, Interaction.CREATE, 1_000, None)
            changes.append(Change(f"{self._changes}-0", 0, version, None))
        for _ in range(2):  # a repeated call counts nothing
            await self.outboxes.append(0, 1, {(DEFAULT_TENANT, SubscriptionId(name)): changes})

    async def claim(self, name: str) -> Claim:
        shard = self.store.layout.shard_of(DEFAULT_TENANT, name)
        for claim in (await self.schedule.claim(shard, 10)).claims:
            self._claims[claim.id] = claim
        return self._claims.pop(SubscriptionId(name))

    async def commit(self, claim: Claim, decision: Decision, outcome: str) -> None:
        for _ in range(2):  # a repeated call counts nothing
            committed = await self.schedule.commit(claim, decision, take_next=False, outcome=outcome)
            assert not committed.is_stale

    async def check(self) -> None:
        """Compares the counters of what is now with the subscriptions themselves."""
        counts = await counts_of(self.store)
        records = [record async for record in self.subscriptions.of_all_tenants()]
        statuses = Counter(record.subscription.status for record in records)
        assert counts.subscriptions == {status: statuses[status] for status in SubscriptionStatus}
        assert counts.undelivered_events == sum(record.count - record.cursor for record in records)
        assert counts.subscriptions_with_gaps == sum(bool(record.open_gaps) for record in records)
        assert counts.dead_letters["event"].waiting == sum(record.dead_letters for record in records)


@pytest.fixture
def deliveries(store: Store) -> Deliveries:
    return Deliveries(store)


async def test_changes_are_counted_by_interaction_and_when_they_are_matched(
    store: Store,
) -> None:
    changes = Changes(store, keep_ms=60_000)
    put = Proposal(DEFAULT_TENANT, "put", "Basic", "a", Release.R4, b"}}")
    for proposal in (put, put, Proposal(DEFAULT_TENANT, "delete", "Basic", "a", Release.R4)):
        await changes.append([proposal])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    counts = await counts_of(store)
    assert counts.changes_accepted == {"create": 1, "update": 0, "delete": 1}, "the second is the first again"
    assert counts.matcher_backlog[partition] == 2
    read = await unmatched(store, partition)
    for _ in range(2):
        await mark_matched(store, read)
    counts = await counts_of(store)
    assert counts.changes_matched == 2
    assert counts.matcher_backlog[partition] == 0


async def test_a_transaction_counts_each_of_its_changes(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    together = [
        Proposal(DEFAULT_TENANT, "put", "Basic", f"0000000{n}-0000-8000-8000-000000000000", Release.R4)
        for n in range(3)
    ]
    await changes.append_together(together)
    assert (await counts_of(store)).changes_accepted["create"] == 3


async def test_deliveries_and_attempts_are_counted_once(deliveries: Deliveries) -> None:
    await deliveries.register("a")
    await deliveries.append("a", 3)
    await deliveries.check()
    await deliveries.commit(await deliveries.claim("a"), Advance(), "delivered")
    await deliveries.commit(await deliveries.claim("a"), Retry(60_000, FAILURE), "unreachable")
    await deliveries.check()
    counts = await counts_of(deliveries.store)
    assert (counts.events_appended, counts.events_delivered, counts.undelivered_events) == (3, 2, 1)
    assert counts.notifications == {
        ("handshake", "delivered"): 1,
        ("event-notification", "delivered"): 1,
        ("event-notification", "unreachable"): 1,
    }


async def test_status_counts_follow_every_way_a_status_changes(deliveries: Deliveries) -> None:
    for name in ("a", "b", "c", "d"):
        await deliveries.register(name)
        await deliveries.append(name, 2)
    await deliveries.check()
    await deliveries.commit(await deliveries.claim("a"), MarkError(FAILURE), "refused")
    await deliveries.commit(await deliveries.claim("b"), TurnOff(FAILURE), "gone")
    await deliveries.check()
    (record,) = await deliveries.subscriptions.many([(DEFAULT_TENANT, SubscriptionId("c"))])
    assert record is not None
    await deliveries.subscriptions.fail(record, "its topic is gone")
    await deliveries.subscriptions.delete(DEFAULT_TENANT, SubscriptionId("d"))
    await deliveries.check()
    await deliveries.subscriptions.put(subscription("a"), create=False)
    await deliveries.check()


async def test_a_pull_subscription_is_counted_as_its_readers_come_forward(deliveries: Deliveries) -> None:
    await deliveries.register("a", is_pull=True)
    await deliveries.append("a", 4)
    for number in (3, 2, 9):
        await deliveries.subscriptions.advance(DEFAULT_TENANT, SubscriptionId("a"), number)
        await deliveries.check()
    assert (await counts_of(deliveries.store)).events_delivered == 4


async def test_events_given_up_are_counted_by_reason(deliveries: Deliveries) -> None:
    await deliveries.register("a")
    await deliveries.append("a", MAX_EVENTS + 3)
    await deliveries.check()
    await Retention(deliveries.store, Limits(keep_ms=60_000)).sweep()
    await deliveries.check()
    counts = await counts_of(deliveries.store)
    assert counts.events_given_up == {
        GapReason.SIZE: 3,
        GapReason.AGE: MAX_EVENTS,
        GapReason.ACCESS: 0,
    }
    await deliveries.subscriptions.put(subscription("a"), create=False)
    await deliveries.check()
    await deliveries.subscriptions.delete(DEFAULT_TENANT, SubscriptionId("a"))
    await deliveries.check()


async def test_numbers_skipped_after_a_rollback_are_not_counted_as_events(deliveries: Deliveries) -> None:
    await deliveries.register("a")
    await deliveries.register("b")
    await deliveries.append("a", 2)
    for rollback_id in ("first", "first", "second"):
        await skip_numbers(deliveries.store, rollback_id, 100, {})
        await deliveries.check()
    counts = await counts_of(deliveries.store)
    assert (counts.events_appended, counts.rollbacks) == (2, 2)
    assert not await RollbackDetector(deliveries.store).verify()


async def test_dead_letters_are_counted_as_they_come_and_go(
    deliveries: Deliveries,
) -> None:
    store = deliveries.store
    await deliveries.register("a")
    await deliveries.append("a", 2)
    broken = (UndeliverableEvent(1, "ValueError"), UndeliverableEvent(2, "ValueError"))
    await deliveries.commit(await deliveries.claim("a"), MoveToDeadLetters(broken, FAILURE), "unrenderable")
    await deliveries.check()
    changes, partition = Changes(store, keep_ms=60_000), store.layout.partition_of(DEFAULT_TENANT, "a")
    await changes.append([Proposal(DEFAULT_TENANT, "put", "Basic", "a", Release.R4, b"}}")])
    (change,) = await unmatched(store, partition)
    tokens = await Leases(store, "me").acquire([partition], 60_000)
    for _ in range(2):
        await make_dead_letter(store, change, tokens[partition], "ValueError")
    letters = [letter async for letter in DeadLetters(store).walk(DEFAULT_TENANT, DeadLetterFilter())]
    actions = DeadLetterActions(store)
    for _ in range(2):
        await actions.redrive(letters[:2])
        await actions.discard(letters[2:])
    counts = (await counts_of(store)).dead_letters
    assert (counts["change"].created, counts["change"].redriven, counts["change"].waiting) == (1, 1, 0)
    assert (counts["event"].created, counts["event"].redriven, counts["event"].discarded) == (2, 1, 1)
    await deliveries.check()
