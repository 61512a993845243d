"""Events a second from POST to the notification received, 1 event = 1 notification, beside the floor in the same run.

One process of the broker, one of the floor, a store each; segments take turns. And the same with idle subscriptions: ten
beside a hundred thousand. CPU time an event is told too: it moves less than the clock on a machine with other work.
"""

import contextlib
import statistics
import time
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, floor, patients, register
from bench.segments import Segment, drive, listening

BENCH = "pipeline"
FLOOR_SHARE = 0.6
IDLE_SHARE = 0.9


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields as it goes."""
    rounds, count, idle = (3, 1_500, 10_000) if is_quick else (7, 4_000, 100_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs: dict[str, Program] = {
            "floor": await stack.enter_async_context(floor(sink)),
            "broker": await stack.enter_async_context(broker()),
        }
        names = {
            "floor": patients("floor"),
            "id-only": patients("some"),
            "full-resource": patients("full"),
        }
        await register(programs["broker"], sink, names["id-only"])
        await register(programs["broker"], sink, names["full-resource"], content="full-resource")
        runs: dict[str, list[Segment]] = {name: [] for name in names}
        for n in range(rounds + 1):
            for name, some in names.items():
                one = await drive(programs["floor" if name == "floor" else "broker"], sink, some, count)
                if n:  # the first round warms up
                    runs[name].append(one)
    for figure in _beside_floor(runs):
        yield figure
    async for figure in _with_idle(rounds, count, idle):
        yield figure


def _beside_floor(runs: dict[str, list[Segment]]) -> list[Figure]:
    figures = []
    for name, segments in runs.items():
        figures.append(Figure(BENCH, name, _median(segments), "events/s"))
        figures.append(Figure(BENCH, f"{name}, CPU", _cpu(segments), "µs an event"))
        figures += [
            Figure(
                BENCH,
                f"{name}, CPU of {process}",
                statistics.median(s.cpu_us[process] for s in segments),
                "µs an event",
            )
            for process in segments[0].cpu_us
        ]
    floor_rates = [one.per_s for one in runs["floor"]]
    for name in ("id-only", "full-resource"):
        share = paired_ratio([one.per_s for one in runs[name]], floor_rates)
        figures.append(Figure(BENCH, f"{name} / floor", share, at_least=FLOOR_SHARE))
    return figures


def _median(segments: list[Segment]) -> float:
    return statistics.median(one.per_s for one in segments)


def _cpu(segments: list[Segment]) -> float:
    return statistics.median(sum(one.cpu_us.values()) for one in segments)


async def _with_idle(rounds: int, count: int, idle: int) -> AsyncIterator[Figure]:
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        began = time.perf_counter()
        many = await stack.enter_async_context(broker(idle=idle))
        ready_s = time.perf_counter() - began
        few = await stack.enter_async_context(broker(idle=10))
        names = patients("some")
        for program in (few, many):
            await register(program, sink, names)
        rates: dict[str, list[float]] = {"few": [], "many": []}
        for n in range(rounds + 1):
            for name, program in (("few", few), ("many", many)):
                one = await drive(program, sink, names, count)
                if n:
                    rates[name].append(one.per_s)
    yield Figure(BENCH, f"{idle:,} idle subscriptions registered and broker ready", ready_s, "s")
    yield Figure(BENCH, "with 10 idle", statistics.median(rates["few"]), "events/s")
    yield Figure(BENCH, f"with {idle:,} idle", statistics.median(rates["many"]), "events/s")
    share = paired_ratio(rates["many"], rates["few"])
    yield Figure(BENCH, f"with {idle:,} idle / with 10", share, at_least=IDLE_SHARE)
