"""SIGHUP to a server command, when it starts and when it stops."""

import asyncio
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from broker.cli.processes import _reload_on_hangup


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """The handler of the process is put back."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


class Reloads:
    """What a broker was asked for."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.broker: Any = SimpleNamespace(reload=self._reload)

    async def _reload(self) -> None:
        self.asked.set()


async def test_a_hangup_that_came_before_files_could_be_read_again_is_answered_then() -> None:
    reloads = Reloads()
    ignore_hangup = _reload_on_hangup(reloads.broker, [signal.SIGHUP])
    async with asyncio.timeout(60):
        await reloads.asked.wait()
    ignore_hangup()


async def test_files_are_read_again_at_a_hangup_and_not_before() -> None:
    reloads = Reloads()
    ignore_hangup = _reload_on_hangup(reloads.broker, [])
    await asyncio.sleep(0)
    assert not reloads.asked.is_set()
    signal.raise_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        await reloads.asked.wait()
    ignore_hangup()


async def test_a_hangup_does_not_end_a_process_that_drains() -> None:
    reloads = Reloads()
    _reload_on_hangup(reloads.broker, [])()
    signal.raise_signal(signal.SIGHUP)
    await asyncio.sleep(0)
    assert not reloads.asked.is_set()
