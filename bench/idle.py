"""Idle subscriptions and idle processes: the rate of events beside many subscriptions without events, and the
load of a broker without any.

The idle subscriptions are registered through the API, as users do. The rates count from the first event after
the last registration; a broker with ten idle subscriptions runs the same segments in turns.
"""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, commands_per_s, patients, register, register_idle
from bench.segments import drive, listening
from bench.wire import Sink

BENCH = "idle"
SHARE = 0.9
_FEW = 10
_QUIET_AFTER_S = 25.0
"""The work of the start is over, and the audit entries of the registrations are chained."""
_ROLES = ("api", "match", "dispatch")


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    async for figure in _load(10.0 if is_quick else 30.0):
        yield figure
    counts, rounds, events = ((2_000,), 3, 1_500) if is_quick else ((20_000, 100_000), 5, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        few = await stack.enter_async_context(broker())
        many = await stack.enter_async_context(broker())
        names = patients("patient")
        for program in (few, many):
            await register(program, sink, names)
            await drive(program, sink, names, events)  # warms up
        await register_idle(few, sink, _FEW)
        registered = 0
        for count in counts:
            await register_idle(many, sink, count - registered, start=registered)
            registered = count
            async for figure in _rates(few, many, sink, names, rounds, events, count):
                yield figure


async def _rates(
    few: Program, many: Program, sink: Sink, names: list[str], rounds: int, events: int, count: int
) -> AsyncIterator[Figure]:
    of_many, of_few = [], []
    for _ in range(rounds):
        of_many.append((await drive(many, sink, names, events)).per_s)
        of_few.append((await drive(few, sink, names, events)).per_s)
    yield Figure(BENCH, f"with {_FEW} idle", statistics.median(of_few), "events/s")
    yield Figure(BENCH, f"with {count:,} idle", statistics.median(of_many), "events/s")
    first = of_many[0] / of_few[0]
    yield Figure(BENCH, f"with {count:,} idle / with {_FEW}, first segment", first, at_least=SHARE)
    share = paired_ratio(of_many, of_few)
    yield Figure(BENCH, f"with {count:,} idle / with {_FEW}", share, at_least=SHARE)


async def _load(seconds: float) -> AsyncIterator[Figure]:
    """An idle broker with one process per role: share of a core, and commands to the store per second."""
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker(_ROLES))
        await register(program, sink, patients("patient", _FEW))
        await asyncio.sleep(_QUIET_AFTER_S)
        cpu = program.cpu_s()
        commands = await commands_per_s(program, seconds)
        spent = program.cpu_s()
    for process in cpu:
        share = (spent[process] - cpu[process]) / seconds * 100
        yield Figure(BENCH, f"CPU of {process.partition(' ')[0]}", share, "% of a core", at_most=1.0)
    yield Figure(BENCH, "store commands", commands / len(_ROLES), "1/s per process", at_most=2.0)
