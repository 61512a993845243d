"""From the moment a POST is due to the arrival of its notification, at half of the rate measured just before, in the same run.

An open loop: a request that has to wait for a connection has waited since it was due, so nothing slow is left out of the figures.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, spread
from bench.rig import broker, patients, register
from bench.segments import drive, listening, paced

BENCH = "latency"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 1_500) if is_quick else (3, 6_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        names = patients("some")
        await register(program, sink, names)
        await drive(program, sink, names, count)
        top = statistics.median([(await drive(program, sink, names, count)).per_s for _ in range(rounds)])
        found = []
        for _ in range(rounds):
            found += await paced(program, sink, names, count, top / 2)
    measured = spread(found)
    yield Figure(BENCH, "top rate", top, "events/s")
    yield Figure(BENCH, "p50 at half of it", measured.p50, "ms", at_most=10)
    yield Figure(BENCH, "p99 at half of it", measured.p99, "ms", at_most=50)
    yield Figure(BENCH, "longest at half of it", measured.max, "ms")
