"""When a process of the broker collects its garbage."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from broker.cli import garbage_collection
from broker.cli.garbage_collection import CHEAP_S, GROWTH, GarbageCollection, scheduled_garbage_collection


class Process:
    """A process with `blocks` objects, of which no collection frees any; each takes `cost_s`."""

    def __init__(self, blocks: int, cost_s: float) -> None:
        self.blocks, self.cost_s = blocks, cost_s
        self.collections = 0
        self._spent_s = 0.0

    def collection(self) -> GarbageCollection:
        return GarbageCollection(self._collect, lambda: self.blocks, lambda: self._spent_s)

    def _collect(self) -> None:
        self.collections += 1
        self._spent_s += self.cost_s


def test_what_is_cheap_is_collected_at_each_check() -> None:
    process = Process(blocks=100, cost_s=CHEAP_S)
    collection = process.collection()
    assert [collection.check() for _ in range(3)] == [True] * 3
    assert process.collections == 3


def test_what_is_expensive_is_collected_when_there_may_be_much_garbage() -> None:
    process = Process(blocks=100, cost_s=CHEAP_S * 2)
    collection = process.collection()
    assert collection.check()
    assert not collection.check()
    process.blocks = int(100 * GROWTH)
    assert collection.check()
    assert not collection.check()


@pytest.fixture
def default_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class _Node:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.node = self


@pytest.mark.usefixtures("default_collector")
async def test_garbage_of_the_oldest_generation_is_collected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage_collection, "INTERVAL_S", 0.001)
    with scheduled_garbage_collection():
        node = _Node()
        gc.collect(1)  # moves it to the oldest generation, which Python does not collect by itself
        left = weakref.ref(node)
        del node
        async with asyncio.timeout(60):
            while left() is not None:  # noqa: ASYNC110 the collector sets no event
                await asyncio.sleep(0.001)
