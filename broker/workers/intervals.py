"""Runs a job at intervals by APScheduler. The housekeeper imports this when its first sweep is due."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.tasks import first_of


async def run_at_intervals(
    job: Callable[[], Awaitable[None]], interval: timedelta, stop: asyncio.Event
) -> None:
    """Runs `job` now and then at each interval, until `stop` is set. One run at a time: those that are due
    during a run are left out. On return, no run is under way: the last one was cancelled by `stop`.

    Raises what `job` raises.
    """
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way = asyncio.Lock()

    async def run() -> None:
        async with under_way:
            if stop.is_set():
                return
            try:
                await first_of(job(), stop)
            except Exception as error:  # noqa: BLE001 the caller of run_at_intervals gets it
                if not failure.done():
                    failure.set_exception(error)

    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        run,
        "interval",
        seconds=interval.total_seconds(),
        next_run_time=datetime.now(UTC),
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()
    try:
        await first_of(failure, stop)
        await under_way.acquire()
    finally:
        scheduler.shutdown(wait=False)
