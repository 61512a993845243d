"""Group commit: batches, order, and what callers receive when the append or the loop itself fails."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from broker.errors import StoreUnavailable
from broker.ingest.group import ANSWERS_PER_TURN, GroupCommit
from broker.model.change import DEFAULT_TENANT, VersionKey
from broker.model.release import Release
from broker.store.proposals import Acceptance, Accepted, Proposal
from broker.tasks import SupervisedTask, end


def proposal(resource_id: str) -> Proposal:
    return Proposal(tenant=DEFAULT_TENANT, op="put", type="Patient", id=resource_id, release=Release.R4)


def accepted(proposal: Proposal) -> Accepted:
    key = VersionKey(DEFAULT_TENANT, proposal.type, proposal.id, 1)
    return Accepted(Acceptance.CREATED, key, 0)


class Log:
    """Takes batches, and holds each append until it is released."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.released = asyncio.Event()
        self.error: BaseException | None = None

    async def append(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        self.batches.append([proposal.id for proposal in proposals])
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return [accepted(proposal) for proposal in proposals]


def submitted(group: GroupCommit, *ids: str) -> "asyncio.Task[list[Accepted]]":
    return asyncio.create_task(group.submit([proposal(resource_id) for resource_id in ids]))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_submissions_during_an_append_share_the_next_one_in_their_order() -> None:
    log = Log()
    group = GroupCommit(log.append)
    running = asyncio.create_task(group.run())
    waiting = [submitted(group, "a")]
    await settled()
    waiting += [submitted(group, "b", "c"), submitted(group, "d")]
    await settled()
    log.released.set()
    answers = await asyncio.gather(*waiting)
    assert log.batches == [["a"], ["b", "c", "d"]]
    assert [[one.key.id for one in answer] for answer in answers] == [["a"], ["b", "c"], ["d"]]
    group.close()
    await running


async def test_a_batch_has_at_most_so_many_proposals_but_never_splits_a_request() -> None:
    log = Log()
    log.released.set()
    group = GroupCommit(log.append, max_batch=2)
    waiting = [
        submitted(group, "a"),
        submitted(group, "b", "c", "d"),
        submitted(group, "e"),
        submitted(group, "f"),
    ]
    await settled()
    running = asyncio.create_task(group.run())
    await asyncio.gather(*waiting)
    assert log.batches == [["a"], ["b", "c", "d"], ["e", "f"]]
    group.close()
    await running


async def test_the_requests_of_a_large_batch_resume_in_several_turns_of_the_loop() -> None:
    log = Log()
    log.released.set()
    group = GroupCommit(log.append)
    turns = [0]

    async def count_turns() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def turn_of_answer(n: int) -> int:
        await group.submit([proposal(str(n))])
        return turns[0]

    waiting = [asyncio.create_task(turn_of_answer(n)) for n in range(4 * ANSWERS_PER_TURN)]
    await settled()
    counting, running = asyncio.create_task(count_turns()), asyncio.create_task(group.run())
    answered_in = Counter(await asyncio.gather(*waiting))
    assert len(log.batches) == 1
    assert sorted(answered_in.values()) == [ANSWERS_PER_TURN] * 4
    await end([counting])
    group.close()
    await running


async def test_a_failed_append_reaches_the_callers_of_its_batch_and_the_loop_goes_on() -> None:
    log = Log()
    log.released.set()
    log.error = StoreUnavailable("gone")
    group = GroupCommit(log.append)
    running = asyncio.create_task(group.run())
    with pytest.raises(StoreUnavailable, match="gone"):
        await group.submit([proposal("a")])
    log.error = None
    assert len(await group.submit([proposal("b")])) == 1
    assert not group.is_failed
    group.close()
    await running


async def test_a_cancelled_caller_does_not_withdraw_its_change() -> None:
    log = Log()
    group = GroupCommit(log.append)
    waiting = submitted(group, "a")
    await settled()
    await end([waiting])
    log.released.set()
    running = asyncio.create_task(group.run())
    await settled()
    assert log.batches == [["a"]]
    group.close()
    await running


async def test_close_writes_what_was_queued_and_refuses_what_comes_after() -> None:
    log = Log()
    log.released.set()
    group = GroupCommit(log.append)
    waiting = submitted(group, "a")
    await settled()
    group.close()
    with pytest.raises(StoreUnavailable, match="stopping"):
        await group.submit([proposal("b")])
    await group.run()
    assert len(await waiting) == 1


async def test_when_the_loop_dies_waiting_requests_fail_and_new_ones_fail_fast() -> None:
    log = Log()
    group = GroupCommit(log.append)
    running = asyncio.create_task(group.run())
    appending, queued = submitted(group, "a"), None
    await settled()
    queued = submitted(group, "b")
    await settled()
    await end([running])
    for waiting in (appending, queued):
        with pytest.raises(StoreUnavailable, match="group commit ended: CancelledError"):
            await asyncio.wait_for(waiting, 60)
    assert group.is_failed
    with pytest.raises(StoreUnavailable, match="being restarted"):
        await asyncio.wait_for(group.submit([proposal("c")]), 60)


async def test_an_answer_short_of_proposals_kills_the_loop_and_the_supervisor_restarts_it() -> None:
    """Any defect of the loop has this effect. The supervised task reports it and restarts the loop."""
    is_broken = True

    async def append(proposals: Sequence[Proposal]) -> list[Accepted]:
        return None if is_broken else [accepted(one) for one in proposals]  # type: ignore[return-value]

    group = GroupCommit(append)
    stop, may_restart = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        if group.is_failed:
            await may_restart.wait()
        await group.run()

    supervised = SupervisedTask("group commit", run, stop, lambda: 100.0)
    try:
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(group.submit([proposal("a")]), 60)
        await settled()
        assert supervised.state() == "failed (TypeError); restarted"
        assert group.is_failed
        is_broken = False
        may_restart.set()
        answer: Any = None
        async with asyncio.timeout(60):
            while answer is None:
                with contextlib.suppress(StoreUnavailable):
                    answer = await group.submit([proposal("b")])
                await asyncio.sleep(0.01)
        assert [one.key.id for one in answer] == ["b"]
    finally:
        stop.set()
        group.close()
        await end([supervised.task])
