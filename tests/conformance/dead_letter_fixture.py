"""A subscription whose events become dead letters."""

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import ErrorReport
from broker.model.outcome import Advance, MoveToDeadLetters, UndeliverableEvent
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    SubscriptionId,
)
from broker.store.claims import Claim
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record, Subscriptions
from tests.subscriptions import stored_subscription

KEY = (DEFAULT_TENANT, SubscriptionId("one"))
FAILURE = ErrorReport(None, "the notification could not be built: ValueError")
SUBSCRIPTION = stored_subscription(max_count=4)


class DeadLetterFixture:
    """Registers, appends and plays the dispatcher."""

    def __init__(self, server: Store) -> None:
        self.subscriptions = Subscriptions(server)
        self.outboxes = Outboxes(server)
        self.schedule = Schedule(server, lease_ms=60_000, max_bytes=1_000, resume="backlog")
        self.shard = server.layout.shard_of(*KEY)

    async def activate(self) -> None:
        await self.subscriptions.put(SUBSCRIPTION, create=False)
        await self.schedule.commit(await self.take(), Advance(), take_next=False)

    async def append(self, *numbers: int) -> None:
        changes = []
        for n in numbers:
            key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
            changes.append(
                Change(f"{n}-0", 0, Version(key, Release.R4, Interaction.CREATE, n, Resource(b"x")), None)
            )
        await self.outboxes.append(0, 1, {KEY: changes})

    async def take(self) -> Claim:
        (claim,) = (await self.schedule.claim(self.shard, 10)).claims
        return claim

    async def create_dead_letters(self, claim: Claim, *numbers: int) -> Claim | None:
        """Makes events of a claim dead letters; returns what is sent next."""
        broken = tuple(UndeliverableEvent(n, f"ValueError: event {n}") for n in numbers)
        committed = await self.schedule.commit(claim, MoveToDeadLetters(broken, FAILURE), take_next=True)
        assert not committed.is_stale
        return committed.next_claim

    async def deliver(self, claim: Claim | None) -> list[list[int]]:
        """Delivers a claim and what follows it; the numbers of each notification."""
        sent = []
        while claim is not None:
            sent.append(numbers_of(claim))
            claim = (await self.schedule.commit(claim, Advance(), take_next=True)).next_claim
        return sent

    async def record(self) -> Record:
        record = await self.subscriptions.get(*KEY)
        assert record is not None
        return record


def numbers_of(claim: Claim) -> list[int]:
    return [event.number for event in claim.events]
