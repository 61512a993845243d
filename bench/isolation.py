"""The cost of a bad endpoint for the others: 1 of 1,000 never answers, then 10 % take a second, each compared
with the plain load.

Each endpoint is its own origin (a port). In one run, segments of the plain load stand before and after each
bad one. The figure is the p99 of the other endpoints divided by the p99 of the plain segments around it.
Plain divided by plain shows the effect of the machine's other load on such a ratio: if it differs from 1 by
more than a bound, the run says nothing about that bound.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio, percentile
from bench.rig import Program, broker, patients, register
from bench.segments import drive, listening, paced
from bench.wire import PROMPT, Behaviour, Sink

BENCH = "isolation"
STALLED = 1.2
SLOW = 1.5
_SHARE_OF_TOP = 0.3
_DRAIN_S = 120.0


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    endpoints, count, rounds = (200, 1_500, 2) if is_quick else (1_000, 6_000, 4)
    names = patients("end", endpoints)
    cases = {
        "plain": (Behaviour(), frozenset[str]()),
        "stalled": (Behaviour(is_silent=True), frozenset(names[:1])),
        "slow": (Behaviour(delay_s=1.0), frozenset(names[::10])),
    }
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack, endpoints)
        program = await stack.enter_async_context(broker())
        await register(program, sink, names, is_spread=True)
        await drive(program, sink, names, count)
        per_s = (await drive(program, sink, names, count)).per_s * _SHARE_OF_TOP
        p99: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for case in ("plain", "stalled", "plain", "slow"):
                behaviour, bad = cases[case]
                p99[case].append(await _others_p99(program, sink, names, count, per_s, behaviour, bad))
    plain = [statistics.fmean(pair) for pair in zip(p99["plain"][::2], p99["plain"][1::2], strict=True)]
    yield Figure(BENCH, f"load on {endpoints:,} endpoints", per_s, "events/s")
    for case, seconds in p99.items():
        yield Figure(BENCH, f"p99 of the others, {case}", statistics.median(seconds) * 1000, "ms")
    noise = paired_ratio(p99["plain"][1::2], p99["plain"][::2])
    yield Figure(BENCH, "p99 of the others, plain / plain", noise)
    for case, bound in (("stalled", STALLED), ("slow", SLOW)):
        ratio = statistics.median(bad / good for bad, good in zip(p99[case], plain, strict=True))
        yield Figure(BENCH, f"p99 of the others, {case} / plain", ratio, at_most=bound)


async def _others_p99(
    program: Program,
    sink: Sink,
    names: list[str],
    count: int,
    per_s: float,
    behaviour: Behaviour,
    bad: frozenset[str],
) -> float:
    for name in bad:
        sink.behave(name, behaviour)
    seconds = await paced(program, sink, names, count, per_s, others=bad)
    for name in bad:
        sink.behave(name, PROMPT)
    # the backlog of the bad endpoints must not run into the next segment
    await sink.until(lambda: sum(sink.events.values()) >= count, _DRAIN_S)
    return percentile(seconds, 0.99)
