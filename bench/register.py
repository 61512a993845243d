"""Registrations per second, each with its handshake delivered, and deletions per second, with 64 clients.

`compare` runs other versions of the broker in turns.
"""

import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, paired_ratio
from bench.rig import CONNECTIONS, ROOT, TOPIC, Program, broker
from bench.segments import listening
from bench.wire import Producer, Sink, request
from broker.testing.registration import subscription

BENCH = "register"
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class _Segment:
    """`cpu_us` is the CPU time for one registration or deletion, in µs, by kind and process."""

    created_per_s: float
    deleted_per_s: float
    cpu_us: Mapping[tuple[str, str], float]


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 500) if is_quick else (5, 4_000)
    async for figure in compare({"": ROOT}, rounds, count):
        yield figure


async def compare(sources: Mapping[str, Path], rounds: int, count: int) -> AsyncIterator[Figure]:
    """The figures of each version, by name, and the ratios of each to the last one."""
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs = {
            name: await stack.enter_async_context(broker(source=source)) for name, source in sources.items()
        }
        runs: dict[str, list[_Segment]] = {name: [] for name in programs}
        for n in range(rounds + 1):
            for name, program in programs.items():
                segment = await _segment(program, sink, count)
                if n:  # the first round warms up
                    runs[name].append(segment)
    for name, segments in runs.items():
        shown = f", {name}" if name else ""
        created = statistics.median(segment.created_per_s for segment in segments)
        deleted = statistics.median(segment.deleted_per_s for segment in segments)
        yield Figure(BENCH, f"registered with handshake{shown}", created, "/s")
        yield Figure(BENCH, f"deleted{shown}", deleted, "/s")
        for kind, process in segments[0].cpu_us:
            cpu_us = statistics.median(segment.cpu_us[kind, process] for segment in segments)
            yield Figure(BENCH, f"CPU of {process}, {kind}{shown}", cpu_us, "µs")
    *others, last = runs
    for name in others:
        created_ratio = paired_ratio(
            [segment.created_per_s for segment in runs[name]],
            [segment.created_per_s for segment in runs[last]],
        )
        deleted_ratio = paired_ratio(
            [segment.deleted_per_s for segment in runs[name]],
            [segment.deleted_per_s for segment in runs[last]],
        )
        yield Figure(BENCH, f"registered, {name} / {last}", created_ratio)
        yield Figure(BENCH, f"deleted, {name} / {last}", deleted_ratio)
        for kind in ("registered", "deleted"):
            cpu_ratio = paired_ratio(_cpu(runs[name], kind), _cpu(runs[last], kind))
            yield Figure(BENCH, f"CPU, {kind}, {name} / {last}", cpu_ratio)


def _cpu(segments: list[_Segment], kind: str) -> list[float]:
    """The CPU time of all processes, of each segment."""
    return [sum(us for (of, _), us in segment.cpu_us.items() if of == kind) for segment in segments]


async def _segment(program: Program, sink: Sink, count: int) -> _Segment:
    path = f"{program.path.rpartition('/')[0]}/Subscription"
    documents = (
        subscription("r4", TOPIC, sink.url("hook"), filters=[f"patient=Patient/p-{n}"]) for n in range(count)
    )
    messages = [request(path, json.dumps(document).encode()) for document in documents]
    sink.reset()
    producer = Producer(program.port)
    before, started = program.cpu_s(), time.perf_counter()
    await producer.as_fast_as_answered(messages, CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
    created_s = time.perf_counter() - started
    between = program.cpu_s()
    deletions = [
        f"DELETE {path}/{each} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for each in producer.sent
    ]
    started = time.perf_counter()
    await Producer(program.port).as_fast_as_answered(deletions, CONNECTIONS)
    deleted_s = time.perf_counter() - started
    after = program.cpu_s()
    cpu_us = {("registered", name): (between[name] - before[name]) / count * 1e6 for name in after}
    cpu_us |= {("deleted", name): (after[name] - between[name]) / count * 1e6 for name in after}
    return _Segment(count / created_s, count / deleted_s, cpu_us)
