"""Subscriptions are listed by status, error, owner and words; a page reads a bounded number of records."""

import asyncio
from typing import Any

import pytest

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.services.subscription_listing import (
    PAGE_SIZE,
    Listing,
    ListingConditions,
    SubscriptionListing,
)
from broker.store import keys
from broker.store.listed_ids import list_subscriptions
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.subscription_ids import PAGE
from broker.store.subscriptions import Registration, Subscriptions
from tests.conftest import ALL_STORES
from tests.stores import redis_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
MAX_EXAMINED = 2 * PAGE
ACTIVE, OFF, ERROR = SubscriptionStatus.ACTIVE, SubscriptionStatus.OFF, SubscriptionStatus.ERROR
CLIENT = Principal("ward", DEFAULT_TENANT, OPEN_PRINCIPAL.scopes, frozenset())


@pytest.fixture
def subscriptions(store: Store) -> Subscriptions:
    return Subscriptions(store)


@pytest.fixture
def listing(store: Store, subscriptions: Subscriptions) -> SubscriptionListing:
    schedule = Schedule(store, lease_ms=60_000, max_bytes=100, resume="backlog")
    return SubscriptionListing(subscriptions, schedule, max_examined=MAX_EXAMINED)


async def register(
    subscriptions: Subscriptions,
    *ids: str,
    owner: str = "open",
    status: SubscriptionStatus = ACTIVE,
    **elements: Any,
) -> None:
    stored = [stored_subscription(each, status=status).changed(owner=owner, **elements) for each in ids]
    await asyncio.gather(*(subscriptions.put(subscription, create=False) for subscription in stored))


def ids_of(page: Listing) -> list[str]:
    return [each.record.subscription.id for each in page.rows]


async def listed(
    listing: SubscriptionListing, principal: Principal = OPEN_PRINCIPAL, **conditions: Any
) -> list[str]:
    page = await listing.page(principal, ListingConditions(**conditions))
    assert not page.is_partial
    assert page.next is None
    return ids_of(page)


async def test_subscriptions_are_listed_by_what_they_are_now(
    listing: SubscriptionListing, subscriptions: Subscriptions
) -> None:
    await register(subscriptions, "a", "b")
    await register(subscriptions, "c", owner="ward")
    await register(subscriptions, "d", owner="ward", status=OFF, name="Night shift")
    assert await listed(listing) == ["a", "b", "c", "d"]
    assert await listed(listing, status=ACTIVE) == ["a", "b", "c"]
    assert await listed(listing, owner="ward") == ["c", "d"]
    assert await listed(listing, owner="ward", status=OFF) == ["d"]
    assert await listed(listing, CLIENT) == ["c", "d"]
    assert await listed(listing, CLIENT, owner="open") == []
    assert await listed(listing, CLIENT, words="open") == []
    assert await listed(listing, words="NIGHT ward") == ["d"]
    assert await listed(listing, words="night open") == []
    assert await listed(listing, words="127.0.0.1:1/", status=OFF) == ["d"]
    record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId("b"))
    assert record is not None
    assert await subscriptions.fail(record, "topic retired")
    assert await listed(listing, has_error=True) == await listed(listing, status=ERROR) == ["b"]
    assert await listed(listing, has_error=True, status=ACTIVE) == []
    counts, with_error = await listing.counts(OPEN_PRINCIPAL)
    assert (counts[ACTIVE], counts[OFF], counts[ERROR], with_error) == (2, 1, 1, 1)
    await register(subscriptions, "b", "d")
    assert await listed(listing, has_error=True) == await listed(listing, status=OFF) == []
    assert await listed(listing, status=ACTIVE) == ["a", "b", "c", "d"]
    moved = stored_subscription("c", status=ACTIVE).changed(owner="ward")
    await subscriptions.put(moved, create=False, new_owner="clinic")
    assert await listed(listing, owner="ward") == ["d"]
    assert await listed(listing, owner="clinic") == ["c"]


async def test_nothing_is_listed_of_deleted_subscriptions_and_of_other_tenants(
    listing: SubscriptionListing, subscriptions: Subscriptions, store: Store
) -> None:
    await register(subscriptions, "a", "b")
    await register(subscriptions, "c", tenant=Tenant("other"))
    record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId("a"))
    assert record is not None
    assert await subscriptions.fail(record, "topic retired")
    for each in "ab":
        registration, _, _ = await subscriptions.delete(DEFAULT_TENANT, SubscriptionId(each))
        assert registration is Registration.DELETED
    counts, with_error = await listing.counts(OPEN_PRINCIPAL)
    assert (sum(counts.values()), with_error) == (0, 0)
    shards = range(store.layout.shards)
    assert await store.send([("EXISTS", keys.listed(n, DEFAULT_TENANT)) for n in shards]) == [0] * len(shards)
    assert await listed(listing, owner="open") == []


async def test_pages_follow_each_other_and_show_each_subscription_once(
    listing: SubscriptionListing, subscriptions: Subscriptions
) -> None:
    expected = [f"s{n:03}" for n in range(2 * PAGE_SIZE + 3)]
    await register(subscriptions, *expected)
    for conditions in (ListingConditions(), ListingConditions(status=ACTIVE), ListingConditions("s")):
        shown: list[str] = []
        pages, after = 0, None
        while pages == 0 or after is not None:
            page = await listing.page(OPEN_PRINCIPAL, conditions, after)
            shown, pages, after = shown + ids_of(page), pages + 1, page.next
        assert (shown, pages) == (expected, 3)


async def records_read(store: Store, work: Any) -> int:
    """How many subscription documents `work` reads."""
    redis = redis_of(store)
    await redis.config_resetstat()
    await work()
    return int((await redis.info("commandstats")).get("cmdstat_hmget", {"calls": 0})["calls"])


async def test_a_page_reads_a_bounded_number_of_records_however_many_there_are(
    listing: SubscriptionListing, subscriptions: Subscriptions, store: Store
) -> None:
    many = MAX_EXAMINED + PAGE
    await register(subscriptions, *(f"s{n:05}" for n in range(many)))
    await register(subscriptions, "t-off", status=OFF)
    await register(subscriptions, "t-ward", owner="ward")
    seen: dict[str, Listing] = {}

    async def read(name: str, conditions: ListingConditions, principal: Principal = OPEN_PRINCIPAL) -> int:
        async def work() -> None:
            seen[name] = await listing.page(principal, conditions)

        return await records_read(store, work)

    assert await read("all", ListingConditions()) <= 2 * PAGE_SIZE
    assert await read("off", ListingConditions(status=OFF)) == 1
    assert await read("of a client", ListingConditions(), CLIENT) == 1
    assert await read("no words", ListingConditions("nowhere")) <= MAX_EXAMINED + 1
    assert ids_of(seen["off"]) == ["t-off"]
    assert ids_of(seen["of a client"]) == ["t-ward"]
    partial = seen["no words"]
    assert (partial.is_partial, partial.examined, ids_of(partial)) == (True, MAX_EXAMINED, [])
    rest = await listing.page(OPEN_PRINCIPAL, ListingConditions("ward"), partial.next)
    assert (ids_of(rest), rest.next, rest.is_partial) == (["t-ward"], None, False)


async def test_a_data_set_without_the_lists_is_migrated(
    listing: SubscriptionListing, subscriptions: Subscriptions, store: Store
) -> None:
    await register(subscriptions, "a", "b")
    await register(subscriptions, "c", owner="ward", status=OFF)
    record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId("b"))
    assert record is not None
    assert await subscriptions.fail(record, "topic retired")
    lists = [("ZRANGE", keys.listed(n, DEFAULT_TENANT), 0, -1) for n in range(store.layout.shards)]
    before = await store.send(lists)
    for shard in range(store.layout.shards):
        await redis_of(store).delete(keys.listed(shard, DEFAULT_TENANT))
    for _ in range(2):
        await list_subscriptions(store)
        assert await store.send(lists) == before
