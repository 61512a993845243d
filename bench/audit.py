"""What the audit trail costs: processor time and rate with and without it, in turns, and bytes for an entry.

Each event leaves two entries: that of its change and that of its delivery. Processor time includes chaining;
the last segment of each round waits until everything is chained.
"""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator

import redis.asyncio as redis

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, patients, register
from bench.segments import Segment, drive_in_turns, listening
from broker.model.change import DEFAULT_TENANT
from broker.store import audit_keys

BENCH = "audit"
MOST_CPU = 1.05
"""With the trail an event may take so much processor time, compared with none."""
_CHAINED_S = 12.0
"""The chainer moves entries every ten seconds."""


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (3, 1_500) if is_quick else (7, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs: dict[str, Program] = {
            "without": await stack.enter_async_context(broker(settings={"audit": "off"})),
            "with": await stack.enter_async_context(broker()),
        }
        names = patients("patient")
        for program in programs.values():
            await register(program, sink, names)
        runs = await drive_in_turns(programs, sink, names, count, rounds)
        before = programs["with"].cpu_s()
        await asyncio.sleep(_CHAINED_S)
        after = programs["with"].cpu_s()
        yield Figure(BENCH, "CPU of chaining what was left", sum(after.values()) - sum(before.values()), "s")
        async for figure in _sizes(programs["with"]):
            yield figure
    for name, segments in runs.items():
        cpu_us = statistics.median(_cpu(segments))
        yield Figure(BENCH, f"CPU {name}", cpu_us, "µs/event")
        yield Figure(BENCH, f"rate {name}", statistics.median(each.per_s for each in segments), "events/s")
    cpu = paired_ratio(_cpu(runs["with"]), _cpu(runs["without"]))
    yield Figure(BENCH, "CPU with / without", cpu, at_most=MOST_CPU)
    rates = {name: [segment.per_s for segment in segments] for name, segments in runs.items()}
    yield Figure(BENCH, "rate with / without", paired_ratio(rates["with"], rates["without"]))


def _cpu(segments: list[Segment]) -> list[float]:
    """The processor time of all processes, of each segment."""
    return [sum(segment.cpu_us.values()) for segment in segments]


async def _sizes(program: Program) -> AsyncIterator[Figure]:
    """The bytes of memory of the chain for each entry."""
    async with redis.Redis.from_url(program.store_url, protocol=2) as client:
        chain = audit_keys.audit_chain(DEFAULT_TENANT)
        entries = int(await client.hget(audit_keys.audit_head(DEFAULT_TENANT), "sequence") or 1)
        used = int(await client.memory_usage(chain, samples=0) or 0)
        yield Figure(BENCH, "entries", entries)
        yield Figure(BENCH, "chain, memory for an entry", used / entries, "bytes")
