"""The task idioms: sleep or work until an event is set, end tasks, restart a loop that failed."""

import asyncio

import pytest

from broker.tasks import Slices, SupervisedTask, end, first_of, sleep_unless, work_until


async def _restarted(task: SupervisedTask, runs: list[int]) -> None:
    async with asyncio.timeout(60):
        while len(runs) < 2:  # noqa: ASYNC110 the loop sets no event
            await asyncio.sleep(0.01)
    assert not task.task.done()


async def test_sleep_returns_false_after_the_time_and_true_as_soon_as_stop_is_set() -> None:
    stop = asyncio.Event()
    assert not await sleep_unless(stop, 0.01)
    asyncio.get_running_loop().call_later(0.01, stop.set)
    async with asyncio.timeout(60):
        assert await sleep_unless(stop, 86_400)
    assert await sleep_unless(stop, 0)


async def test_first_of_returns_the_result_of_the_work() -> None:
    async def work() -> int:
        return 7

    assert await first_of(work(), asyncio.Event()) == 7


async def test_first_of_cancels_the_work_when_an_event_is_set() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return 7

    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert await first_of(work(), asyncio.Event(), stop) is None
    assert ended.is_set()


async def test_first_of_keeps_a_result_that_arrives_together_with_an_event() -> None:
    stop = asyncio.Event()
    stop.set()
    result = asyncio.get_running_loop().create_future()
    result.set_result(7)
    assert await first_of(result, stop) == 7


async def test_first_of_leaves_shielded_work_running() -> None:
    stop = asyncio.Event()
    stop.set()
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert await first_of(asyncio.shield(result), stop) is None
    assert not result.done()


async def test_first_of_ends_the_work_when_its_caller_is_cancelled() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.create_task(first_of(work(), asyncio.Event()))
    await asyncio.sleep(0.01)
    await end([waiting])
    assert waiting.cancelled()
    assert ended.is_set()


async def test_work_until_raises_what_the_work_raises() -> None:
    async def work() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await work_until(asyncio.Event(), work())


async def test_end_cancels_again_when_a_cancellation_was_lost() -> None:
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end([task])
    assert lost == 2


@pytest.mark.parametrize("error", [ValueError(), ExceptionGroup("tasks", [ValueError(), KeyError()])])
async def test_a_supervised_task_restarts_a_failed_loop_and_reports_the_failure(error: Exception) -> None:
    stop, runs, now = asyncio.Event(), list[int](), 100.0

    async def loop() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise error
        await stop.wait()

    supervised = SupervisedTask("example", loop, stop, lambda: now)
    assert supervised.state() == "ok"
    await _restarted(supervised, runs)
    assert supervised.state() == "failed (ValueError); restarted"
    now += 60
    assert supervised.state() == "ok"
    stop.set()
    await supervised.task
    assert supervised.state() == "stopped"


async def test_a_supervised_task_restarts_a_loop_that_returns_before_stop() -> None:
    stop, runs = asyncio.Event(), list[int]()

    async def loop() -> None:
        runs.append(1)
        if len(runs) == 2:
            await stop.wait()

    supervised = SupervisedTask("example", loop, stop, lambda: 100.0)
    await _restarted(supervised, runs)
    assert supervised.state() == "failed (returned early); restarted"
    stop.set()
    await supervised.task


async def test_work_in_slices_lets_others_run_after_each() -> None:
    now = 0.0
    turns: list[int] = []
    slices = Slices(0.005, lambda: now)

    async def watch() -> None:
        while True:
            turns.append(slices.count)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    for _ in range(10):
        now += 0.002
        await slices.pause()
    await end([watching])
    assert slices.count == 3, "after the third, sixth and ninth step"
    assert turns == [0, 1, 2, 3]


async def test_work_in_the_background_rests_after_a_slice() -> None:
    slices, rested = Slices(0.0, rest_s=0.01), asyncio.Event()
    asyncio.get_running_loop().call_later(0.005, rested.set)
    await slices.pause()
    assert rested.is_set(), "a timer that was due during the rest has run"
