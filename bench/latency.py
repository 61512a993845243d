"""The latency from the moment that a POST is due to the arrival of its notification, at half of the maximum
rate measured in the same run.

An open loop: the wait for a free connection counts from the moment that a request is due, so the figures
leave out nothing slow. The floor runs at the same rate, in turns, and shows how quickly the machine itself
reacts at such a load.
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
        names = patients("patient")
        await register(program, sink, names)
        await drive(program, sink, names, count)
        top = statistics.median([(await drive(program, sink, names, count)).per_s for _ in range(rounds)])
        measured: list[float] = []
        of_floor: list[float] = []
        for _ in range(rounds):
            measured += await paced(program, sink, names, count, top / 2)
            of_floor += await paced_floor(bare, sink, names, count, top / 2)
    latency, least = spread(measured), spread(of_floor)
    yield Figure(BENCH, "maximum rate", top, "events/s")
    yield Figure(BENCH, "p50 at half of it", latency.p50, "ms", at_most=10)
    yield Figure(BENCH, "p99 at half of it", latency.p99, "ms", at_most=50)
    yield Figure(BENCH, "longest at half of it", latency.max, "ms")
    yield Figure(BENCH, "p50 of the floor at that rate", least.p50, "ms")
    yield Figure(BENCH, "p99 of the floor at that rate", least.p99, "ms")
