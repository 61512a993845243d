"""A worker loop that fails is started again, and readiness tells of it."""

import asyncio

from broker.tasks import SupervisedTask


async def test_a_loop_that_fails_is_started_again_and_says_so() -> None:
    stop, runs = asyncio.Event(), 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError
        await stop.wait()

    kept = SupervisedTask("example", loop, stop)
    assert kept.state() == "ok"
    async with asyncio.timeout(10):
        while runs < 2:  # noqa: ASYNC110 the loop sets no event
            await asyncio.sleep(0.01)
    assert kept.state() == "failed (ValueError) and was started again"
    stop.set()
    await kept.task
    assert kept.state() == "has ended"
