"""Producers that send as fast as they are answered: rate and latency with and without the throttle.

Three brokers in one process each, in turns: with BROKER_TARGET_LAG=50ms, with 300ms, and without. The latency
runs from the answer to the POST, when the change is accepted, to the arrival of its notification.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from bench.figures import Figure, latencies, paired_ratio, spread
from bench.rig import Program, broker, patients, register
from bench.segments import drive, listening
from bench.wire import Producer, Sink

BENCH = "overload"
P50_MS = 100.0
RATE_SHARE = 0.97
_FREE = "free"
_SHORTEST = "throttled to 50 ms"
_TARGETS = {_SHORTEST: "50ms", "throttled to 300 ms": "300ms", _FREE: "0s"}


@dataclass(slots=True)
class _Runs:
    """The segments of one broker."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    since_answer: list[float] = field(default_factory=list)
    since_request: list[float] = field(default_factory=list)


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 1_500) if is_quick else (3, 20_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs = {
            name: await stack.enter_async_context(broker(settings={"target_lag": target}))
            for name, target in _TARGETS.items()
        }
        names = patients("patient")
        for program in programs.values():
            await register(program, sink, names)
        runs = {name: _Runs() for name in programs}
        for n in range(rounds + 1):
            for name, program in programs.items():
                await _segment(program, sink, names, count, runs[name] if n else _Runs())
    for name, measured in runs.items():
        yield Figure(BENCH, f"rate, {name}", statistics.median(measured.per_s), "events/s")
        yield Figure(BENCH, f"CPU, {name}", statistics.median(measured.cpu_us), "µs/event")
        for since, seconds in (("answer", measured.since_answer), ("request", measured.since_request)):
            times = spread(seconds)
            at_most = P50_MS if (name, since) == (_SHORTEST, "answer") else None
            yield Figure(BENCH, f"p50 since {since}, {name}", times.p50, "ms", at_most=at_most)
            yield Figure(BENCH, f"p99 since {since}, {name}", times.p99, "ms")
    for name in (name for name in programs if name != _FREE):
        share = paired_ratio(runs[name].per_s, runs[_FREE].per_s)
        yield Figure(BENCH, f"rate, {name} / {_FREE}", share, at_least=RATE_SHARE)


async def _segment(program: Program, sink: Sink, names: list[str], count: int, runs: _Runs) -> None:
    producer = Producer(program.port)
    segment = await drive(program, sink, names, count, producer=producer)
    runs.per_s.append(segment.per_s)
    runs.cpu_us.append(sum(segment.cpu_us.values()))
    runs.since_answer += latencies(producer.answered, sink.arrivals)
    runs.since_request += latencies({name: at for name, (_, at) in producer.sent.items()}, sink.arrivals)
