"""From the moment a POST is due to the arrival of its notification, at half of the rate measured just before, in the same run.

An open loop: a request that has to wait for a connection has waited since it was due, so nothing slow is left out of the figures.
The floor is driven at the same rate, in turns: what the machine's own waking up makes of such a load.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, spread
from bench.rig import broker, floor, patients, register
from bench.segments import drive, listening, paced, paced_floor

BENCH = "latency"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 1_500) if is_quick else (3, 6_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        bare = await stack.enter_async_context(floor(sink))
        names = patients("some")
        await register(program, sink, names)
        await drive(program, sink, names, count)
        top = statistics.median([(await drive(program, sink, names, count)).per_s for _ in range(rounds)])
        found: list[float] = []
        beside: list[float] = []
        for _ in range(rounds):
            found += await paced(program, sink, names, count, top / 2)
            beside += await paced_floor(bare, sink, names, count, top / 2)
    measured, least = spread(found), spread(beside)
    yield Figure(BENCH, "top rate", top, "events/s")
    yield Figure(BENCH, "p50 at half of it", measured.p50, "ms", at_most=10)
    yield Figure(BENCH, "p99 at half of it", measured.p99, "ms", at_most=50)
    yield Figure(BENCH, "longest at half of it", measured.max, "ms")
    yield Figure(BENCH, "p50 of the floor at that rate", least.p50, "ms")
    yield Figure(BENCH, "p99 of the floor at that rate", least.p99, "ms")
