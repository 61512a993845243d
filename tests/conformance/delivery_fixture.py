"""One subscription and its way through a store."""

import asyncio

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Advance
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    SubscriptionId,
    SubscriptionStatus,
)
from broker.store.claims import Claim
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from tests.subscriptions import stored_subscription

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
        async with asyncio.timeout(60):
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
