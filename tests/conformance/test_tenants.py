"""Tenants with the same ids share a store: subscriptions, topics and dead letters never mix."""

import pytest

from broker.model.change import Change, Interaction, Tenant, Version, VersionKey
from broker.model.notification import ErrorReport
from broker.model.outcome import Advance, MoveToDeadLetters, UndeliverableEvent
from broker.model.release import Release
from broker.model.resource import UnversionedResource
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import keys
from broker.store.changes import Changes
from broker.store.claims import Claim
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.inbox import Inbox, Refusal
from broker.store.leases import Leases
from broker.store.outbox import Outboxes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from broker.store.resources import Resources
from broker.store.retention import Limits, Retention
from broker.store.schedule import Schedule
from broker.store.subscriptions import Registration, Subscriptions
from broker.store.topics import Topics
from tests.conformance.dead_letter_fixture import SUBSCRIPTION
from tests.conftest import ALL_STORES
from tests.matched import make_dead_letter, unmatched
from tests.stores import changes_of, counts_of

STORES = ALL_STORES
FIRST, SECOND = Tenant("first"), Tenant("second")
TENANTS = (FIRST, SECOND)
ID = SubscriptionId("same")
FAILURE = ErrorReport(None, "ValueError")


def key_of(tenant: Tenant) -> SubscriptionKey:
    return tenant, ID


class Subscribers:
    """One subscription of each tenant, with the same id, and a dispatcher for all of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.subscriptions = Subscriptions(store)
        self.outboxes = Outboxes(store)
        self.schedule = Schedule(store, lease_ms=60_000, max_bytes=1_000, resume="backlog")

    async def activate(self, tenant: Tenant) -> None:
        await self.subscriptions.put(SUBSCRIPTION.changed(tenant=tenant, id=ID), create=True)
        await self.schedule.commit(await self.claim(tenant), Advance(), take_next=False)

    async def claim(self, tenant: Tenant) -> Claim:
        claims = (await self.schedule.claim(self.store.layout.shard_of(*key_of(tenant)), 10)).claims
        (claim,) = (claim for claim in claims if claim.tenant == tenant)
        return claim

    async def append(self, tenant: Tenant, count: int) -> None:
        changes = []
        for n in range(1, count + 1):
            key = VersionKey(tenant, "Observation", f"{tenant}{n}", 1)
            version = Version(key, Release.R4, Interaction.CREATE, 1_000, None)
            changes.append(Change(f"{n}-0", 0, version, None, trace=f"trace of {tenant}"))
        await self.outboxes.append(0, 1, {key_of(tenant): changes})

    async def foci(self, tenant: Tenant) -> list[str]:
        return [event.focus.id for event in await self.outboxes.read(*key_of(tenant), None, None, limit=10)]


@pytest.fixture
async def subscribers(store: Store) -> Subscribers:
    subscribers = Subscribers(store)
    for tenant in TENANTS:
        await subscribers.activate(tenant)
    return subscribers


async def test_subscriptions_with_equal_ids_have_their_own_documents_and_events(
    subscribers: Subscribers,
) -> None:
    await subscribers.append(FIRST, 2)
    assert await subscribers.foci(FIRST) == ["first1", "first2"]
    assert await subscribers.foci(SECOND) == []
    claim = await subscribers.claim(FIRST)
    assert {event.focus.tenant for event in claim.events} == {FIRST}
    assert {event.trace for event in claim.events} == {"trace of first"}
    for tenant in TENANTS:
        records = [record async for record in subscribers.subscriptions.of_tenant(tenant)]
        assert [(record.subscription.tenant, record.count) for record in records] == [
            (tenant, 2 if tenant == FIRST else 0)
        ]


async def test_deleting_a_subscription_leaves_that_of_the_other_tenant(subscribers: Subscribers) -> None:
    follower = RegistryFollower(subscribers.store)
    assert {key for key, _ in await changes_of(follower)} == {key_of(tenant) for tenant in TENANTS}
    await subscribers.append(SECOND, 1)
    status, *_ = await subscribers.subscriptions.delete(*key_of(FIRST))
    assert status is Registration.DELETED
    assert [key for key, record in await changes_of(follower) if record is None] == [key_of(FIRST)]
    assert await subscribers.subscriptions.tenants() == [SECOND]
    assert await subscribers.subscriptions.get(*key_of(FIRST)) is None
    assert await subscribers.foci(SECOND) == ["second1"]


async def test_retention_sweeps_every_tenant(subscribers: Subscribers) -> None:
    for tenant in TENANTS:
        await subscribers.append(tenant, 2)
    await Retention(subscribers.store, Limits(keep_ms=60_000)).sweep()
    for tenant in TENANTS:
        assert await subscribers.foci(tenant) == []
    assert (await counts_of(subscribers.store)).subscriptions_with_gaps == 2


async def test_topics_with_equal_ids_are_stored_for_each_tenant(store: Store) -> None:
    topics = Topics(store)
    for tenant in TENANTS:
        document = UnversionedResource("SubscriptionTopic", "same", f'}},"title":"{tenant}"}}'.encode())
        assert (await topics.put(tenant, "same", document, create=True))[0] is Registration.CREATED
    await topics.record_validated(FIRST, {"http://example.org|1": b"{}"}, [])
    await topics.delete(FIRST, "same")
    assert await topics.tenants() == [SECOND]
    assert await topics.get(FIRST, "same") is None
    (topic,) = await topics.all(SECOND)
    assert b'"title":"second"' in topic.document
    assert await topics.validated(SECOND) == {}


async def letters_of(store: Store, tenant: Tenant) -> list[DeadLetter]:
    return [letter async for letter in DeadLetters(store).walk(tenant, DeadLetterFilter())]


async def test_dead_letters_of_each_kind_belong_to_their_tenant(
    subscribers: Subscribers,
) -> None:
    store = subscribers.store
    changes, inbox = Changes(store, keep_ms=60_000), Inbox(store)
    await inbox.prepare()
    reader = inbox.reader(timeout_s=20)
    for tenant in TENANTS:
        await subscribers.append(tenant, 1)
        decision = MoveToDeadLetters((UndeliverableEvent(1, f"of {tenant}"),), FAILURE)
        await subscribers.schedule.commit(await subscribers.claim(tenant), decision, take_next=False)
        await changes.append([Proposal(tenant, "put", "Basic", "same", Release.R4, b"}}")])
        partition = store.layout.partition_of(tenant, "same")
        (change,) = await unmatched(store, partition)
        tokens = await Leases(store, "me").acquire([partition], 60_000)
        await make_dead_letter(store, change, tokens[partition], f"of {tenant}")
        await store.send([("XADD", keys.INBOX, "*", "resource", "{}", "tenant", tenant)])
        entries = await inbox.read(reader, ">", count=10, block_ms=None)
        await inbox.finish([], [Refusal(entry, f"of {tenant}", b"{}") for entry in entries])
    await reader.close()
    for tenant in TENANTS:
        letters = await letters_of(store, tenant)
        assert [letter.kind for letter in letters] == ["change", "event", "inbox"]
        assert {(letter.tenant, letter.reason) for letter in letters} == {(tenant, f"of {tenant}")}
        assert {letter.focus.tenant for letter in letters if letter.focus} == {tenant}
    actions = DeadLetterActions(store)
    assert await actions.discard(await letters_of(store, FIRST)) == 3
    assert await letters_of(store, FIRST) == []
    assert len(await letters_of(store, SECOND)) == 3
    limits = Limits(keep_ms=60_000, refused=0, dead_letters=0)
    await Retention(store, limits).sweep()
    assert [letter.kind for letter in await letters_of(store, SECOND)] == ["event"]


async def test_resources_with_equal_ids_are_found_by_their_tenant_only(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    for tenant in TENANTS:
        await changes.append(
            [
                Proposal(
                    tenant,
                    "put",
                    "Basic",
                    "same",
                    Release.R4,
                    f'}},"language":"{tenant}"}}'.encode(),
                    identifiers=(f"{tenant}\x1furn:x\x1f", "both\x1furn:x\x1f"),
                    references=(("patient", "Patient/p"),),
                )
            ]
        )
    resources = Resources(store)
    for tenant in TENANTS:
        version = await resources.current(tenant, "Basic", "same")
        assert version is not None
        assert version.resource is not None
        assert f'"language":"{tenant}"'.encode() in version.resource.text
        assert await resources.find(tenant, "Basic", ["both\x1f"], limit=5) == {"same"}
        assert await resources.referring(tenant, "Patient/p", [("Basic", "patient")], limit=5) == [
            ("Basic", "same")
        ]
    assert await resources.find(FIRST, "Basic", ["second\x1f"], limit=5) == set()
