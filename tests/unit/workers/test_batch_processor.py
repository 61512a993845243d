"""A batch of changes: order within a partition, concurrency between partitions, and what an error leaves
unmatched.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import pytest

from broker.delivery.owner_access import OpenAccess
from broker.errors import StoreUnavailable
from broker.matching.matcher import Match
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.json_text import LARGE_BYTES
from broker.model.notification import Included
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store.matched_positions import START
from broker.store.outbox import Context
from broker.store.scripts.matching import Step
from broker.tasks import SLICE_S
from broker.workers.batch_processor import BatchProcessor
from broker.workers.partitions import Partition
from broker.workers.poison import MAX_ATTEMPTS

ONE = SubscriptionId("one")
KEY: SubscriptionKey = (DEFAULT_TENANT, ONE)
TOPIC = "http://example.org/topic|1"
Contexts = Mapping[tuple[SubscriptionKey, str], Context]


def change_of(partition: int, entry_id: str, name: str) -> Change:
    key = VersionKey(DEFAULT_TENANT, "Observation", name, 1)
    return Change(
        entry_id, partition, Version(key, Release.R4, Interaction.CREATE, 1_000, Resource(b"{}")), None
    )


class FakeStore:
    """Stands for changes, positions and outboxes: records appends, up to which change each partition is
    matched and how many they are, and dead letters.
    """

    def __init__(self) -> None:
        self.appended: dict[int, list[str]] = {}
        self.contexts: dict[int, Contexts] = {}
        self.matched: dict[int, tuple[str, int]] = {}
        self.dead_letters: list[str] = []
        self.under_way = 0
        self.max_under_way = 0
        self.failing: int | None = None

    async def append(
        self,
        partition: int,
        _token: int,
        matched: Mapping[SubscriptionKey, Sequence[Change]],
        contexts: Contexts = MappingProxyType({}),
    ) -> int:
        self.under_way += 1
        self.max_under_way = max(self.max_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if partition == self.failing:
            raise StoreUnavailable("no store")
        self.appended[partition] = [change.id for changes in matched.values() for change in changes]
        self.contexts[partition] = contexts
        return 1

    async def advance(self, steps: Sequence[Step]) -> None:
        for step in steps:
            last, count = self.matched.get(step.partition, (START, 0))
            assert step.position == last
            self.matched[step.partition] = (step.last, count + step.changes)

    async def move_to_dead_letters(self, change: Change, step: Step, _reason: str) -> None:
        assert change.id == step.last
        await self.advance([step])
        self.dead_letters.append(change.id)


class FakeMatching:
    """Stands for matcher, index and includes: each change matches one subscription and includes one resource
    of its name.
    """

    def __init__(self, failing: Iterable[str] = ()) -> None:
        self.failing = set(failing)

    def prepare(self, _change: Change) -> Iterator[None]:
        return iter(())

    def needs(self, _change: Change) -> frozenset[tuple[str, str]]:
        return frozenset()

    def match(self, change: Change, _related: object) -> list[Match]:
        if change.current.key.id in self.failing:
            raise ValueError("cannot be matched")
        return [Match(DEFAULT_TENANT, ONE, TOPIC)]

    def drain_problems(self) -> list[object]:
        return []

    @contextlib.asynccontextmanager
    async def matching(self) -> AsyncIterator[None]:
        yield

    def is_event(self, _match: Match, _change: Change) -> bool:
        return True

    def owner(self, _match: Match) -> str:
        return "open"

    async def targets(self, change: Change, canonicals: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        return {canonical: [("Patient", change.current.key.id)] for canonical in canonicals}

    async def contexts(self, batch: Sequence[tuple[Change, Any]]) -> list[dict[str, Context]]:
        return [
            {
                canonical: Context((Included(VersionKey(DEFAULT_TENANT, kind, name, 1), Release.R4),), 1)
                for canonical, [(kind, name)] in by_canonical.items()
            }
            for _, by_canonical in batch
        ]


def processor_of(store: FakeStore, matching: FakeMatching) -> BatchProcessor:
    fakes = (store, store, store, store, matching, matching, matching, OpenAccess())
    return BatchProcessor(*(cast("Any", fake) for fake in fakes), expiring_types=())


def partitions_of(*numbers: int) -> dict[int, Partition]:
    return {number: Partition(number, token=1, position=START) for number in numbers}


async def test_partitions_are_appended_concurrently_and_keep_their_order() -> None:
    store = FakeStore()
    batch = [change_of(0, "1-0", "a"), change_of(1, "1-0", "b"), change_of(0, "2-0", "c")]
    await processor_of(store, FakeMatching()).process(batch, partitions_of(0, 1))
    assert store.appended == {0: ["1-0", "2-0"], 1: ["1-0"]}
    assert store.matched == {0: ("2-0", 2), 1: ("1-0", 1)}
    assert store.max_under_way == 2


async def test_changes_of_two_partitions_with_equal_entry_ids_keep_their_own_included_resources() -> None:
    store = FakeStore()
    batch = [change_of(0, "1-0", "a"), change_of(1, "1-0", "b")]
    await processor_of(store, FakeMatching()).process(batch, partitions_of(0, 1))
    included = {
        number: contexts[KEY, "1-0"].included[0].key.id for number, contexts in store.contexts.items()
    }
    assert included == {0: "a", 1: "b"}


async def test_a_failed_append_leaves_the_whole_batch_unmatched_and_interrupts_no_other_partition() -> None:
    store = FakeStore()
    store.failing = 0
    batch = [change_of(0, "1-0", "a"), change_of(1, "1-0", "b")]
    with pytest.raises(StoreUnavailable):
        await processor_of(store, FakeMatching()).process(batch, partitions_of(0, 1))
    assert store.appended == {1: ["1-0"]}
    assert store.matched == {}


async def test_a_change_that_fails_holds_up_those_behind_it_in_its_partition_only() -> None:
    store, partitions = FakeStore(), partitions_of(0, 1)
    batch = [change_of(0, "1-0", "a"), change_of(0, "2-0", "bad"), change_of(0, "3-0", "c")]
    await processor_of(store, FakeMatching({"bad"})).process([*batch, change_of(1, "1-0", "d")], partitions)
    assert store.matched == {0: ("1-0", 1), 1: ("1-0", 1)}
    assert [partition.position for partition in partitions.values()] == ["1-0", "1-0"]
    assert partitions[1].poison.rest_s() == 0
    assert partitions[0].poison.rest_s() > 0


async def test_after_the_last_attempt_the_change_is_a_dead_letter_and_those_behind_it_go_on() -> None:
    store, partitions = FakeStore(), partitions_of(0)
    processor = processor_of(store, FakeMatching({"bad"}))
    batch = [change_of(0, "1-0", "bad"), change_of(0, "2-0", "b")]
    for _ in range(MAX_ATTEMPTS - 1):
        await processor.process(batch, partitions)
        assert store.matched == {}
    await processor.process(batch, partitions)
    assert store.dead_letters == ["1-0"]
    assert store.matched == {0: ("2-0", 2)}
    assert partitions[0].position == "2-0"


async def test_other_tasks_run_while_a_large_change_is_matched() -> None:
    has_run = threading.Event()

    class Waiting(FakeMatching):
        def match(self, change: Change, related: object) -> list[Match]:
            assert has_run.wait(60), "no other task ran"
            return super().match(change, related)

    key = VersionKey(DEFAULT_TENANT, "Observation", "large", 1)
    body = Resource(b'{"resourceType":"Observation","note":"' + b"x" * LARGE_BYTES + b'"}')
    change = Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, body), None)
    store = FakeStore()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(processor_of(store, Waiting()).process([change], partitions_of(0)))
        await asyncio.sleep(0)
        has_run.set()
    assert store.appended == {0: ["1-0"]}


async def test_other_tasks_run_while_the_index_of_a_type_is_built() -> None:
    turns: list[int] = []

    class Building(FakeMatching):
        def prepare(self, _change: Change) -> Iterator[None]:
            for _ in range(5):
                time.sleep(SLICE_S)
                yield
            turns.append(-1)

    async def count() -> None:
        while -1 not in turns:
            turns.append(1)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            processor_of(FakeStore(), Building()).process([change_of(0, "1-0", "a")], partitions_of(0))
        )
        tasks.create_task(count())
    assert turns.count(1) >= 5
