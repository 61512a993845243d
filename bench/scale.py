"""One and two of each worker, taking turns; what an event costs each process; and what an idle broker asks.

CPU time an event is the capacity model: a process can do no more than its reciprocal, and the store's is where one server ends
however many workers there are.
"""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio
from bench.rig import broker, commands_per_s, patients, register
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
        names = patients("some")
        for program in programs.values():
            await register(program, sink, names)
        for n in range(rounds + 1):
            for name, program in programs.items():
                one = await drive(program, sink, names, count)
                if n:
                    runs[name].append(one)
    for name, segments in runs.items():
        rate = statistics.median(one.per_s for one in segments)
        yield Figure(BENCH, f"{name} matcher and dispatcher each", rate, "events/s")
    rates = {name: [one.per_s for one in segments] for name, segments in runs.items()}
    yield Figure(BENCH, "two / one", paired_ratio(rates["two"], rates["one"]))
    for process in runs["one"][0].cpu_us:
        cost = statistics.median(one.cpu_us[process] for one in runs["one"])
        yield Figure(BENCH, f"CPU of {process.partition(' ')[0]}", cost, "µs an event")
        if process == "store" and cost:
            yield Figure(BENCH, "one store saturates at", 1e6 / cost, "events/s")


async def measure_idle(*, is_quick: bool) -> AsyncIterator[Figure]:
    """A broker nobody asks anything, a process a role; in shares of a core and commands a second."""
    seconds = 10.0 if is_quick else 30.0
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker(_ONE))
        await register(program, sink, patients("some", 10))
        await asyncio.sleep(5)  # until what starting up set in motion is over
        cpu = program.cpu_s()
        asked = await commands_per_s(program, seconds)
        spent = program.cpu_s()
    for process in cpu:
        share = (spent[process] - cpu[process]) / seconds * 100
        yield Figure("idle", f"CPU of {process.partition(' ')[0]}", share, "% of a core", at_most=1.0)
    yield Figure("idle", "store commands", asked / len(_ONE), "a second and process", at_most=2.0)
