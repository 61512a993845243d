"""The matcher verifies the store after every outage that its process noticed, before it numbers events."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from broker.store.changes import Loaded
from broker.telemetry.lag import MatcherLag
from broker.workers.matcher import MatcherWorker


class Scene:
    """Every part of a matcher that holds one partition; `steps` has what the loop did."""

    def __init__(self, on_load: Callable[["Scene"], None]) -> None:
        self.steps: list[str] = []
        self.outages = 0
        self.stop = asyncio.Event()
        self.tokens: Mapping[int, int] = {0: 1}
        self.changed = asyncio.Event()
        self.are_certain, self.matchers, self.renew_in_s = True, 1, 60.0
        self._on_load = on_load

    def worker(self) -> MatcherWorker:
        part = cast("Any", self)
        return MatcherWorker(part, part, part, part, part, part, MatcherLag(), self.stop)

    # the store

    def stream_reader(self, *, timeout_s: float) -> "Scene":
        return self

    async def send(self, commands: Sequence[object]) -> list[None]:
        return [None] * len(commands)

    async def close(self) -> None:
        pass

    # the changes

    async def read(self, _reader: object, positions: Mapping[int, str], **_: int) -> list[str]:
        self.steps.append("read")
        return list(positions.values())

    async def load(self, _entries: object) -> Loaded:
        self._on_load(self)
        return Loaded([], 0.0)

    # the rollback detector

    async def verify(self) -> bool:
        self.steps.append("verify")
        return False

    def record_read(self, _changes: object) -> None:
        pass

    async def save(self) -> None:
        pass

    # the leases

    async def renew(self) -> None:
        pass

    async def release(self) -> None:
        pass

    # the index

    async def follow(self) -> None:
        await self.stop.wait()

    async def update(self) -> None:
        pass

    # the processor

    async def process(self, _changes: object, _partitions: object) -> None:
        self.steps.append("process")
        if self.steps.count("process") == 2:
            self.stop.set()


async def test_the_store_is_verified_once_while_it_answers() -> None:
    scene = Scene(lambda _: None)
    async with asyncio.timeout(60):
        await scene.worker().run()
    assert scene.steps == ["verify", "read", "process", "read", "process"]


async def test_what_was_read_before_an_outage_is_read_again_from_the_verified_store() -> None:
    def fail_elsewhere(scene: Scene) -> None:
        if scene.steps.count("process") == 1:
            scene.outages = 1

    scene = Scene(fail_elsewhere)
    async with asyncio.timeout(60):
        await scene.worker().run()
    assert scene.steps == ["verify", "read", "process", "read", "verify", "read", "process"]
