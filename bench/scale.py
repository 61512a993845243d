"""Scaling: one and two of each worker in turns, and the processor time per event.

CPU time per event is the capacity model: a process can handle at most its reciprocal, and that of the store
is the limit of one server, whatever the number of workers.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio
from bench.rig import broker, patients, register
from bench.segments import Segment, drive, listening

BENCH = "scale"
_ONE = ("api", "match", "dispatch")
_TWO = ("api", "match", "match", "dispatch", "dispatch")


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 1_500) if is_quick else (5, 4_000)
    runs: dict[str, list[Segment]] = {"one": [], "two": []}
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs = {
            "one": await stack.enter_async_context(broker(_ONE)),
            "two": await stack.enter_async_context(broker(_TWO)),
        }
        names = patients("patient")
        for program in programs.values():
            await register(program, sink, names)
        for n in range(rounds + 1):
            for name, program in programs.items():
                segment = await drive(program, sink, names, count)
                if n:
                    runs[name].append(segment)
    for name, segments in runs.items():
        rate = statistics.median(segment.per_s for segment in segments)
        yield Figure(BENCH, f"{name} matcher and dispatcher each", rate, "events/s")
    rates = {name: [segment.per_s for segment in segments] for name, segments in runs.items()}
    yield Figure(BENCH, "two / one", paired_ratio(rates["two"], rates["one"]))
    for process in runs["one"][0].cpu_us:
        cost = statistics.median(segment.cpu_us[process] for segment in runs["one"])
        yield Figure(BENCH, f"CPU of {process.partition(' ')[0]}", cost, "µs/event")
        if process == "store" and cost:
            yield Figure(BENCH, "one store saturates at", 1e6 / cost, "events/s")
