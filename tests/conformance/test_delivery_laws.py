"""Laws of the delivery scripts, over sequences of what producers, dispatchers and clients may do, against a
small model.

Numbers have no gap; the cursor never moves back; a subscription has one claim at a time; a retry is the
notification before.
"""

from enum import StrEnum

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import ErrorReport, NotificationType
from broker.model.outcome import Advance, MarkError, Retry
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store.claims import Claim
from broker.store.keys import Layout
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from tests.conftest import ALL_STORES
from tests.stores import SharedStore, opened_for_examples
from tests.subscriptions import stored_subscription

STORES = ALL_STORES

KEY = (DEFAULT_TENANT, SubscriptionId("one"))
FAILURE = ErrorReport(None, "refused")
MAX_COUNT = 3


class Step(StrEnum):
    """What may happen next."""

    APPEND = "append"
    APPEND_AGAIN = "append again"
    CLAIM = "claim"
    ADVANCE = "advance"
    ADVANCE_AND_TAKE = "advance and take"
    RETRY = "retry"
    GIVE_BACK = "give back"
    FAIL = "fail"
    COMMIT_LATE = "commit late"
    REQUEST_AGAIN = "request again"


class Model:
    """Carries out steps on the store and says at each what it must have done."""

    def __init__(self, server: Store) -> None:
        self.subscriptions = Subscriptions(server)
        self.outboxes = Outboxes(server)
        self.schedule = Schedule(server, lease_ms=60_000, max_bytes=1_000, resume="backlog")
        self.shard = server.layout.shard_of(*KEY)
        self.changes = 0
        self.count = 0
        self.cursor = 0
        self.held: Claim | None = None
        self.before: Claim | None = None
        self.is_pinned = False

    async def register(self) -> None:
        await self.subscriptions.put(stored_subscription(max_count=MAX_COUNT), create=False)
        self.is_pinned = False

    async def append(self, *numbers: int) -> int:
        changes = []
        for n in numbers:
            key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
            changes.append(
                Change(f"{n}-0", 0, Version(key, Release.R4, Interaction.CREATE, n, Resource(b"x")), None)
            )
        return await self.outboxes.append(0, 1, {KEY: changes})

    async def take(self, step: Step) -> None:
        match step:
            case Step.APPEND:
                self.changes += 2
                added = await self.append(self.changes - 1, self.changes)
                assert added in {0, 2}
                self.count += added
            case Step.APPEND_AGAIN:
                if self.changes and self.count == self.changes:
                    assert await self.append(self.changes) == 0
            case Step.CLAIM:
                claimed = (await self.schedule.claim(self.shard, 10)).claims
                assert not (claimed and self.held), "one claim at a time"
                if claimed:
                    self.take_over(claimed[0])
            case Step.COMMIT_LATE:
                if self.before is not None and self.before is not self.held:
                    # refused, or the repetition of the last commit: then it gives the claim that is held, and
                    # no other
                    late = await self.schedule.commit(self.before, Advance(), take_next=True)
                    if late.next_claim is not None:
                        assert not late.is_stale
                        assert self.held is not None
                        assert (late.next_claim.token, late.next_claim.events) == (
                            self.held.token,
                            self.held.events,
                        )
            case Step.REQUEST_AGAIN:
                await self.register()
            case _:
                await self.commit(step)

    def take_over(self, claim: Claim) -> None:
        if self.is_pinned and self.before is not None:
            again, first = claim, self.before
            assert (again.events, again.at_ms, again.count) == (first.events, first.at_ms, first.count)
        if claim.type is NotificationType.EVENT_NOTIFICATION:
            numbers = [event.number for event in claim.events]
            assert numbers == list(range(self.cursor + 1, self.cursor + 1 + len(numbers)))
            assert 1 <= len(numbers) <= MAX_COUNT
            assert claim.count == numbers[-1] <= self.count
        self.held, self.is_pinned = claim, False

    async def commit(self, step: Step) -> None:
        claim = self.held
        if claim is None:
            return
        self.held, self.before = None, claim
        is_handshake = claim.type is NotificationType.HANDSHAKE
        match step:
            case Step.ADVANCE | Step.ADVANCE_AND_TAKE:
                done = await self.schedule.commit(claim, Advance(), take_next=step is Step.ADVANCE_AND_TAKE)
                self.cursor = max(self.cursor, claim.count) if claim.events else self.cursor
            case Step.RETRY if not is_handshake:
                done = await self.schedule.commit(claim, Retry(0, FAILURE), take_next=False)
                self.is_pinned = done.status is SubscriptionStatus.ACTIVE
            case Step.GIVE_BACK:
                done = await self.schedule.commit(claim, None, take_next=False)
                self.is_pinned = done.status is SubscriptionStatus.ACTIVE
            case _:
                done = await self.schedule.commit(claim, MarkError(FAILURE), take_next=False)
        assert not done.is_stale
        if done.next_claim is not None:
            self.take_over(done.next_claim)

    async def check(self) -> None:
        record = await self.subscriptions.get(*KEY)
        assert record is not None
        assert (record.count, record.cursor) == (self.count, self.cursor)
        numbers = [event.number for event in await self.outboxes.read(*KEY, None, None, limit=1_000)]
        assert numbers == list(range(1, self.count + 1))


async def play(shared_store: SharedStore, store: Store, steps: list[Step]) -> None:
    await shared_store.flush()
    model = Model(store)
    await model.register()
    for step in steps:
        await model.take(step)
        await model.check()


def test_numbers_have_no_gap_and_the_cursor_never_moves_back(shared_store: SharedStore) -> None:
    with opened_for_examples(shared_store, Layout(partitions=1, shards=1)) as (runner, store):

        @settings(max_examples=30)  # on each store
        @given(steps=st.lists(st.sampled_from(Step), max_size=40))
        def check(steps: list[Step]) -> None:
            runner.run(play(shared_store, store, steps))

        check()
