"""Workers that build search indexes and check exports go on after the store was unavailable."""

import asyncio
from typing import Any, cast

import pytest
import structlog.testing

from broker.errors import StoreUnavailable
from broker.workers import export_checker, search_builder
from broker.workers.export_checker import ExportChecker
from broker.workers.search_builder import SearchBuilder


class Jobs:
    """Lists of jobs: the store is unavailable at the first look, and the process stops at the second."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.looks = 0

    async def stale(self) -> list[str]:
        return await self.open()

    async def open(self) -> list[str]:
        self.looks += 1
        if self.looks == 1:
            raise StoreUnavailable("The store is unavailable.")
        self._stop.set()
        return []


async def test_indexes_are_built_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_builder, "_LOOK_AGAIN_S", 0.0)
    jobs = Jobs(stop := asyncio.Event())
    with structlog.testing.capture_logs() as logs:
        await SearchBuilder(cast("Any", jobs), cast("Any", None), stop).run()
    assert jobs.looks == 2
    assert [(entry["log_level"], entry["worker"]) for entry in logs] == [("warning", "search indexes")]


async def test_exports_are_checked_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_checker, "_LOOK_AGAIN_S", 0.0)
    jobs = Jobs(stop := asyncio.Event())
    with structlog.testing.capture_logs() as logs:
        await ExportChecker(cast("Any", None), cast("Any", jobs), stop).run()
    assert jobs.looks == 2
    assert [(entry["log_level"], entry["worker"]) for entry in logs] == [("warning", "exports")]
