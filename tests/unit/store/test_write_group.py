"""Writes of concurrent callers share a round trip."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from broker.errors import StoreUnavailable
from broker.store.protocol import ScriptCall, Store, WriteConcern
from broker.store.write_group import WORTH_A_WRITE, WriteGroup


class Written:
    """A store that writes a batch when it is let go, and answers with the key of each call."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def run_many(self, calls: Sequence[ScriptCall], concern: WriteConcern) -> list[Any]:
        assert concern is WriteConcern.DURABLE
        self.batches.append([str(call.keys[0]) for call in calls])
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return [call.keys[0] for call in calls]


def started(group: WriteGroup, name: str) -> "asyncio.Task[Any]":
    return asyncio.create_task(group.run(ScriptCall("register_subscription", [name], [])))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_that_come_during_a_write_share_the_next_one_in_their_order() -> None:
    store = Written()
    group = WriteGroup(cast("Store", store))
    calls = [started(group, "a")]
    await settled()
    calls += [started(group, "b"), started(group, "c")]
    await settled()
    assert store.batches == [["a"]]
    store.released.set()
    assert await asyncio.gather(*calls) == ["a", "b", "c"]
    assert store.batches == [["a"], ["b", "c"]]
    assert await started(group, "d") == "d"


async def test_an_error_goes_to_those_written_together_and_the_next_call_is_written_again() -> None:
    store = Written()
    store.released.set()
    store.error = StoreUnavailable("gone")
    group = WriteGroup(cast("Store", store))
    results = await asyncio.gather(started(group, "a"), started(group, "b"), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
    store.error = None
    assert await started(group, "c") == "c"


async def test_a_cancelled_caller_does_not_withdraw_its_call_nor_those_of_others() -> None:
    store = Written()
    group = WriteGroup(cast("Store", store))
    first = started(group, "a")
    await settled()
    cancelled, other = started(group, "b"), started(group, "c")
    await settled()
    cancelled.cancel()
    first.cancel()
    store.released.set()
    assert await other == "c"
    assert store.batches == [["a"], ["b", "c"]]
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_many_calls_do_not_wait_for_the_write_under_way() -> None:
    store = Written()
    group = WriteGroup(cast("Store", store))
    calls = [started(group, "first")]
    await settled()
    many = [str(n) for n in range(WORTH_A_WRITE)]
    calls += [started(group, name) for name in many]
    await settled()
    calls += [started(group, f"later {n}") for n in range(2 * WORTH_A_WRITE)]
    await settled()
    assert store.batches == [["first"], many], "two writes are under way, and no more"
    store.released.set()
    assert len(await asyncio.gather(*calls)) == 1 + 3 * WORTH_A_WRITE
    assert sum(map(len, store.batches)) == 1 + 3 * WORTH_A_WRITE
