"""A job at intervals runs until the stop, one run at a time, and its failure reaches the caller."""

import asyncio
from datetime import timedelta

import pytest

from broker.workers.intervals import run_at_intervals

_INTERVAL = timedelta(milliseconds=10)
_DEADLINE_S = 60.0


async def test_a_job_runs_again_and_again_until_the_stop() -> None:
    stop, runs = asyncio.Event(), 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            stop.set()

    async with asyncio.timeout(_DEADLINE_S):
        await run_at_intervals(job, _INTERVAL, stop)
    assert runs == 3


async def test_the_first_run_does_not_wait_for_the_interval() -> None:
    stop = asyncio.Event()

    async def job() -> None:
        stop.set()

    async with asyncio.timeout(_DEADLINE_S):
        await run_at_intervals(job, timedelta(days=1), stop)


async def test_a_job_that_takes_longer_than_the_interval_never_runs_twice_at_once() -> None:
    stop, under_way, runs = asyncio.Event(), 0, []

    async def job() -> None:
        nonlocal under_way
        under_way += 1
        runs.append(under_way)
        await asyncio.sleep(3 * _INTERVAL.total_seconds())
        under_way -= 1
        if len(runs) == 3:
            stop.set()

    async with asyncio.timeout(_DEADLINE_S):
        await run_at_intervals(job, _INTERVAL, stop)
    assert runs == [1, 1, 1]


async def test_a_failure_of_the_job_is_raised() -> None:
    async def job() -> None:
        raise LookupError("the sweep failed")

    async with asyncio.timeout(_DEADLINE_S):
        with pytest.raises(LookupError, match="the sweep failed"):
            await run_at_intervals(job, _INTERVAL, asyncio.Event())


async def test_a_run_under_way_is_cancelled_by_the_stop() -> None:
    stop, started, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(_DEADLINE_S):
        running = asyncio.create_task(run_at_intervals(job, _INTERVAL, stop))
        await started.wait()
        stop.set()
        await running
    assert ended.is_set()
