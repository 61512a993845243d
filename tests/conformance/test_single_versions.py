"""The store pins notifications by the rule of `single_versions`, for first deliveries and for `$resend`."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import Event, Included, single_versions
from broker.model.outcome import Advance
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.store.outbox import Context, Outboxes
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from tests.conformance.delivery_fixture import KEY
from tests.subscriptions import stored_subscription

EVENTS = 60


def changes(seed: int) -> tuple[list[Change], dict[str, Context]]:
    """Changes of few resources, some deleted, with patients of several versions among the included ones."""
    draw = random.Random(seed)
    versions: dict[str, int] = {}
    made: list[Change] = []
    contexts: dict[str, Context] = {}
    for n in range(1, EVENTS + 1):
        name = f"o{draw.randint(1, draw.choice([2, 20]))}"
        versions[name] = versions.get(name, 0) + draw.choice([0, 1, 1]) or 1
        key = VersionKey(DEFAULT_TENANT, draw.choice(["Observation", "Patient"]), name, versions[name])
        is_deleted = draw.random() < 0.2
        interaction = Interaction.DELETE if is_deleted else Interaction.UPDATE
        resource = None if is_deleted else Resource(b"{}")
        made.append(Change(f"{n}-0", 0, Version(key, Release.R4, interaction, n, resource), None))
        included = [
            VersionKey(DEFAULT_TENANT, "Patient", f"o{draw.randint(1, 20)}", draw.randint(1, 2))
            for _ in range(draw.choice([0, 0, 1, 2]))
        ]
        contexts[f"{n}-0"] = Context(tuple(Included(each, Release.R4) for each in included), 0)
    return made, contexts


def batches(events: Sequence[Event]) -> list[Sequence[Event]]:
    expected = []
    while events:
        expected.append(single_versions(events))
        events = events[len(expected[-1]) :]
    return expected


class Delivery:
    """A subscription with up to 100 events a notification, whose receiver accepts everything."""

    def __init__(self, store: Store, content: PayloadContent) -> None:
        self.subscriptions = Subscriptions(store)
        self.outboxes = Outboxes(store)
        self.schedule = Schedule(store, lease_ms=60_000, max_bytes=1_000_000, resume="backlog")
        self.shard = store.layout.shard_of(*KEY)
        plain = stored_subscription()
        self.document = plain.changed(channel=replace(plain.channel, content=content, max_count=100))

    async def activate(self) -> None:
        await self.subscriptions.put(self.document, create=True)
        await self.deliver()

    async def deliver(self) -> list[Sequence[Event]]:
        """The events of each notification that was due."""
        (claim,) = (await self.schedule.claim(self.shard, 1)).claims
        sent: list[Sequence[Event]] = []
        while True:
            sent.append(claim.events)
            committed = await self.schedule.commit(claim, Advance(), take_next=True)
            if committed.next_claim is None:
                return sent
            claim = committed.next_claim


@pytest.mark.parametrize("seed", range(8))
async def test_a_notification_with_resources_has_one_version_of_each(store: Store, seed: int) -> None:
    delivery = Delivery(store, PayloadContent.FULL_RESOURCE)
    await delivery.activate()
    made, contexts = changes(seed)
    await delivery.outboxes.append(
        0, 1, {KEY: made}, {(KEY, change_id): context for change_id, context in contexts.items()}
    )
    stored = await delivery.outboxes.read(*KEY, None, None, limit=EVENTS)
    expected = batches(stored)
    assert 2 <= len(expected) < EVENTS, "the drawn changes have batches of several events"
    assert [list(events) for events in await delivery.deliver()] == [list(events) for events in expected]

    record = await delivery.subscriptions.get(*KEY)
    assert record is not None
    await delivery.schedule.resend(*KEY, record.revision, [(1, EVENTS)])
    assert [list(events) for events in await delivery.deliver()] == [list(events) for events in expected]


async def test_a_notification_without_resources_has_all_events(store: Store) -> None:
    delivery = Delivery(store, PayloadContent.ID_ONLY)
    await delivery.activate()
    made, _ = changes(1)
    await delivery.outboxes.append(0, 1, {KEY: made})
    assert [len(events) for events in await delivery.deliver()] == [EVENTS]
