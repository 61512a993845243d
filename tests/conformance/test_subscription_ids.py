"""Ids of subscriptions are read in order, by pages, and a page costs the same however many there are."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.services.paging import PageName
from broker.services.subscription_fields import SUBSCRIPTION_FIELDS
from broker.services.subscription_pages import page_by_id
from broker.store import keys
from broker.store.layout_record import LayoutRecord
from broker.store.migrations import SCHEMA_VERSION
from broker.store.protocol import Store
from broker.store.records import EventRecord, encode
from broker.store.retention import Limits, Retention
from broker.store.subscription_ids import PAGE
from broker.store.subscriptions import Subscriptions
from tests.conftest import StartBroker
from tests.stores import redis_of
from tests.subscriptions import stored_subscription

MANY = 2 * PAGE + 50
COUNT = 7


@pytest.fixture
async def subscriptions(store: Store) -> Subscriptions:
    return Subscriptions(store)


async def register(subscriptions: Subscriptions, first: int, end: int) -> None:
    for n in range(first, end):
        await subscriptions.put(stored_subscription(f"s{n:04}"), create=True)


def ids_of(*numbers: int) -> list[str]:
    return [f"s{n:04}" for n in numbers]


async def page(
    subscriptions: Subscriptions, relation: str, *position: str
) -> tuple[list[str], dict[str, str]]:
    selected, total = await page_by_id(subscriptions, DEFAULT_TENANT, PageName(relation, position), COUNT)
    assert total == 20
    return [each.id for each in selected.items], dict(selected.links)


async def test_pages_by_id_are_in_order_and_lead_to_their_neighbours(subscriptions: Subscriptions) -> None:
    await register(subscriptions, 0, 20)
    items, links = await page(subscriptions, "")
    assert items == ids_of(*range(7))
    assert set(links) == {"first", "next", "last"}
    items, links = await page(subscriptions, "after", "s0006")
    assert items == ids_of(*range(7, 14))
    assert set(links) == {"first", "previous", "next", "last"}
    items, links = await page(subscriptions, "after", "s0013")
    assert items == ids_of(*range(14, 20))
    assert set(links) == {"first", "previous", "last"}
    assert await page(subscriptions, "last") == (items, links)
    items, links = await page(subscriptions, "before", "s0007")
    assert items == ids_of(*range(7))
    assert set(links) == {"first", "next", "last"}
    items, links = await page(subscriptions, "after", "t")
    assert (items, links["previous"]) == ([], "last")


async def test_an_empty_tenant_has_one_empty_page(subscriptions: Subscriptions) -> None:
    for relation in ("", "last"):
        selected, total = await page_by_id(subscriptions, DEFAULT_TENANT, PageName(relation), COUNT)
        assert (list(selected.items), total) == ([], 0)
        assert set(selected.links) == {"first", "last"}


async def test_every_subscription_is_read_once(subscriptions: Subscriptions) -> None:
    await register(subscriptions, 0, MANY)
    listed = [record.subscription.id async for record in subscriptions.of_tenant(DEFAULT_TENANT)]
    assert sorted(listed) == ids_of(*range(MANY))
    assert len(await subscriptions.in_shard(0)) == len(set(await subscriptions.in_shard(0))) > 0


async def test_a_search_reads_only_subscriptions_whose_stored_values_contain_what_it_names(
    subscriptions: Subscriptions,
) -> None:
    await register(subscriptions, 0, 5)
    endpoint = 'http://ä.example/a"b\\c?d=e|f'
    one = stored_subscription("one")
    one = one.changed(topic_canonical=f"{one.topic}|2", channel=replace(one.channel, endpoint=endpoint))
    await subscriptions.put(one, create=True)
    stored = [
        field for fields in SUBSCRIPTION_FIELDS.values() for field in fields.values() if field.is_stored
    ]
    assert stored
    for value in {value or "" for field in stored for value in field.values(one)}:
        found = [
            each.subscription async for each in subscriptions.of_tenant(DEFAULT_TENANT, [["x://", value]])
        ]
        assert one.id in {each.id for each in found}, value
        assert value == one.topic or len(found) == 1
    groups = [[endpoint], [f"{one.topic}|3"]]
    assert not [each async for each in subscriptions.of_tenant(DEFAULT_TENANT, groups)]


async def commands(store: Store, work: Any) -> dict[str, int]:
    redis = redis_of(store)
    await redis.config_resetstat()
    await work()
    statistics = await redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in statistics.items()}
    return {name: number for name, number in calls.items() if not name.startswith(("config", "info"))}


async def test_a_page_of_a_search_costs_the_same_with_few_and_with_many(
    store: Store, start_broker: StartBroker
) -> None:
    subscriptions = Subscriptions(store)
    read = []
    async with (
        start_broker(frozenset({Role.API})) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):

        async def search() -> None:
            for name in ("", "last"):
                response = await client.get("/r5/Subscription", params={"_count": COUNT, "_page": name})
                modes = [entry["search"]["mode"] for entry in response.json()["entry"]]
                assert modes.count("match") == COUNT

        for first, end in ((0, 2 * COUNT), (2 * COUNT, MANY // COUNT * COUNT)):
            await register(subscriptions, first, end)
            read.append((await commands(store, search))["hmget"])
            response = await client.get("/r5/Subscription", params={"_summary": "count"})
            assert response.json()["total"] == end
    assert read[0] == read[1]


async def test_a_sweep_looks_at_a_bounded_number_of_entries_in_one_script(store: Store) -> None:
    subscriptions = Subscriptions(store)
    await register(subscriptions, 0, 1)
    redis = redis_of(store)
    shard = subscriptions.shard_of(DEFAULT_TENANT, ids_of(0)[0])  # type: ignore[arg-type]
    outbox = keys.outbox(shard, DEFAULT_TENANT, ids_of(0)[0])
    record = encode(EventRecord("Basic", "a", 1, Release.R4, Interaction.CREATE, at_ms=1, size=0))
    pipeline = redis.pipeline()
    for number in range(1, 5_001):
        pipeline.xadd(outbox, {"event": record}, id=f"{number}-0")
    await pipeline.execute()
    await redis.hset(keys.subscription(shard, DEFAULT_TENANT, ids_of(0)[0]), mapping={"cursor": 5000})
    retention = Retention(store, Limits(keep_ms=1_000))
    calls = await commands(store, lambda: retention._trim_outboxes(2_000))
    assert await redis.xlen(outbox) == 0
    assert calls["evalsha"] >= 3


async def test_a_data_set_with_unordered_ids_is_migrated(store: Store) -> None:
    subscriptions, redis = Subscriptions(store), redis_of(store)
    await register(subscriptions, 0, 20)
    expected = {shard: await subscriptions.in_shard(shard) for shard in range(store.layout.shards)}
    for shard, listed in expected.items():
        members = keys.members(shard, DEFAULT_TENANT)
        await redis.delete(members)
        if listed:
            await redis.sadd(members, *(subscription_id for _, subscription_id in listed))
    await redis.hset(keys.LAYOUT, "schema", 2)
    assert [step.version for step in await LayoutRecord(store).migrate()] == [*range(3, SCHEMA_VERSION + 1)]
    assert {shard: await subscriptions.in_shard(shard) for shard in expected} == expected
