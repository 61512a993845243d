"""The index follows the registry while changes are matched: nothing active is ever missing, and no other task
waits for more than a slice.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from broker.app.topics import load_catalog
from broker.errors import StoreUnavailable
from broker.matching.catalog import Catalog
from broker.matching.index import IndexedMatcher
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Filter
from broker.model.subscription import Subscription, SubscriptionId, SubscriptionStatus
from broker.model.topic import FilterDefinition, Topic
from broker.settings import Settings
from broker.store.protocol import Store
from broker.store.registry import RegistryFollower
from broker.store.subscriptions import Subscriptions
from broker.tasks import end
from broker.testing.readings import HEART_RATE, observation
from broker.workers.subscription_index import SubscriptionIndexUpdater
from tests.integration.broker_fixture import until
from tests.subscriptions import stored_subscription

STORES = ("embedded", "cluster")
TOPIC = "http://fhir-broker.org/topics/vital-signs"
MANY = 600
_LATER_MS = 1 << 45
_MAX_PUTS = 400
"""More than a slice puts on a machine that is faster than any of today."""


class CountingIndex(IndexedMatcher):
    """Counts the puts since another task last ran."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog.search_context(frozenset()))
        self.puts = self.max_puts = 0

    def put(self, subscription: Subscription, topic: Topic) -> None:
        super().put(subscription, topic)
        self.puts += 1
        self.max_puts = max(self.max_puts, self.puts)

    def refile(self) -> bool:
        self.puts += bool(self._outdated)
        self.max_puts = max(self.max_puts, self.puts)
        return super().refile()

    @property
    def is_refiled(self) -> bool:
        return not self._outdated and not self._remains

    async def watch(self) -> None:
        while True:
            self.puts = 0
            await asyncio.sleep(0)


class NoTopicSync:
    async def sync(self) -> None: ...


class Updated:
    """An index of a real store, with what keeps it up to date."""

    def __init__(self, store: Store) -> None:
        self.catalog = load_catalog(Settings())
        self.topic = next(topic for topic in self.catalog.all() if topic.url == TOPIC)
        self.subscriptions = Subscriptions(store)
        self.index = CountingIndex(self.catalog)
        sync: Any = NoTopicSync()
        self.updater = SubscriptionIndexUpdater(
            RegistryFollower(store), self.subscriptions, self.catalog, sync, self.index
        )

    async def register(self, name: str, patient: str | None = None) -> None:
        """An active subscription to readings of a patient; the patient's name is its own by default."""
        filters = (Filter("patient", f"Patient/{patient or name}"),)
        subscription = stored_subscription(name, release=Release.R4, status=SubscriptionStatus.ACTIVE)
        await self.subscriptions.put(
            subscription.changed(topic_canonical=self.topic.canonical, filters=filters), create=False
        )

    async def register_many(self, count: int) -> None:
        for start in range(0, count, 100):
            await asyncio.gather(*(self.register(f"s{n}") for n in range(start, min(count, start + 100))))

    def matches(self, patient: str) -> set[str]:
        return {match.subscription_id for match in self.index.match(reading_of(patient))}

    def change_topic(self, **changed: Any) -> None:
        """Gives the topic another content, as a reload of the folder does."""
        self.topic = replace(self.topic, **changed)
        others = [topic for topic in self.catalog.all() if topic.id != self.topic.id]
        self.replace_topics([*others, self.topic])

    def replace_topics(self, topics: list[Topic]) -> None:
        contents = self.catalog.contents
        self.catalog.replace(contents._replace(of_folder={topic.id: topic for topic in topics}))


def reading_of(patient: str) -> Change:
    resource = observation(HEART_RATE, patient, "2025-03-01T08:00:00Z", 80) | {"id": "o"}
    key = VersionKey(DEFAULT_TENANT, "Observation", "o", 1)
    body = Resource(json.dumps(resource).encode())
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, _LATER_MS, body), None)


@contextlib.asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        await end(tasks)


@pytest.fixture
def updated(store: Store) -> Updated:
    return Updated(store)


async def test_the_index_follows_registrations_and_deletions_while_no_change_arrives(
    updated: Updated,
) -> None:
    async with running(updated.updater.follow()):
        await updated.register("one")

        async def is_found() -> bool:
            return updated.matches("one") == {"one"}

        await until(is_found)
        await updated.subscriptions.delete(DEFAULT_TENANT, SubscriptionId("one"))

        async def is_gone() -> bool:
            return not updated.matches("one")

        await until(is_gone)


async def test_a_change_after_an_activation_meets_the_subscription_whatever_the_follower_does(
    updated: Updated,
) -> None:
    async def register_and_match(name: str) -> None:
        await updated.register(name)
        await updated.updater.update()
        async with updated.updater.matching():
            (match,) = updated.index.match(reading_of(name))
            assert match.subscription_id == name
            assert updated.updater.is_event(match, reading_of(name))

    async with running(updated.updater.follow()):
        for start in range(0, 300, 30):
            await asyncio.gather(*(register_and_match(f"s{start + n}") for n in range(30)))


async def test_registrations_are_applied_in_slices(updated: Updated) -> None:
    await updated.register_many(MANY)
    async with running(updated.index.watch()):
        await updated.updater.update()
    assert updated.matches(f"s{MANY - 1}") == {f"s{MANY - 1}"}
    assert updated.index.max_puts < _MAX_PUTS
    assert updated.updater.is_loaded


async def test_a_status_alone_does_not_file_a_subscription_again(updated: Updated) -> None:
    await updated.register("one")
    await updated.updater.update()
    record = await updated.subscriptions.get(DEFAULT_TENANT, SubscriptionId("one"))
    assert record is not None
    assert await updated.subscriptions.fail(record, "for a test")
    updated.index.puts = 0
    await updated.updater.update()
    assert updated.index.puts == 0
    (match,) = updated.index.match(reading_of("one"))
    assert updated.updater.is_event(match, reading_of("one")), "its events are counted while it is in error"
    await updated.register("one", "other")
    await updated.updater.update()
    assert updated.matches("other") == {"one"}
    assert updated.matches("one") == set()


async def test_what_a_failed_update_did_not_apply_comes_with_the_next_one(
    updated: Updated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await updated.updater.update()
    await updated.register_many(3)
    many = Subscriptions.many

    async def fail(*_: Any) -> Any:
        raise StoreUnavailable("for a test")

    monkeypatch.setattr(Subscriptions, "many", fail)
    with pytest.raises(StoreUnavailable):
        await updated.updater.update()
    monkeypatch.setattr(Subscriptions, "many", many)
    await updated.updater.update()
    assert [updated.matches(f"s{n}") for n in range(3)] == [{"s0"}, {"s1"}, {"s2"}]


async def test_no_subscription_is_missing_while_the_whole_registry_is_read_again(updated: Updated) -> None:
    await updated.register_many(MANY)
    await updated.updater.update()
    found: list[set[str]] = []

    async def look() -> None:
        while True:
            found.append(updated.matches("s7"))
            await asyncio.sleep(0)

    updated.updater.start_over()
    async with running(look()):
        await updated.updater.update()
    assert found
    assert all(names == {"s7"} for names in found)


async def test_no_subscription_is_missing_while_its_topic_takes_a_new_content(updated: Updated) -> None:
    await updated.register_many(MANY)
    await updated.updater.update()
    found: list[bool] = []

    async def look() -> None:
        while True:
            found.append(all(updated.matches(f"s{n}") == {f"s{n}"} for n in (0, 7, MANY - 1)))
            await asyncio.sleep(0)

    updated.index.puts = updated.index.max_puts = 0
    updated.change_topic(filters=(*updated.topic.filters, FilterDefinition("performer")))
    async with running(updated.updater.follow(), updated.index.watch(), look()):

        async def is_done() -> bool:
            topic = updated.index._topics[updated.topic.canonical].topic
            return updated.index.is_refiled and topic == updated.topic

        await until(is_done)
    assert all(found)
    assert updated.index.max_puts < _MAX_PUTS


async def test_a_new_subscription_is_matched_by_the_new_content_at_once(updated: Updated) -> None:
    await updated.register_many(5)
    await updated.updater.update()
    updated.change_topic(filters=(FilterDefinition("patient", "Encounter"),))
    await updated.register("new", "other")
    async with updated.updater._lock:
        await updated.updater._apply_changes()
        assert "new" in updated.matches("anybody"), "the filter is of another type now"
    await updated.updater.update()
    assert updated.matches("anybody") == {"new", "s0", "s1", "s2", "s3", "s4"}


async def test_a_subscription_leaves_when_it_failed_for_its_topic_is_gone_and_returns_with_it(
    updated: Updated,
) -> None:
    await updated.register("one")
    await updated.updater.update()
    topics = updated.catalog.all()
    updated.replace_topics([topic for topic in topics if topic.url != TOPIC])
    await updated.updater.update()
    assert updated.matches("one") == {"one"}, "its topic may be kept for it"
    record = await updated.subscriptions.get(DEFAULT_TENANT, SubscriptionId("one"))
    assert record is not None
    await updated.subscriptions.fail(record, "the topic is gone")
    await updated.updater.update()
    assert updated.matches("one") == set()
    updated.replace_topics(topics)
    await updated.updater.update()
    assert updated.matches("one") == {"one"}
