"""One segment of a measurement: `count` events through a program, from the first POST to the last
notification.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.figures import latencies
from bench.rig import CONNECTIONS, Program, bodies
from bench.wire import Producer, Sink

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Segment:
    """The result of one segment. `cpu_us` is the CPU time per event of each process, in µs."""

    per_s: float
    cpu_us: dict[str, float]


async def listening(stack: contextlib.AsyncExitStack, ports: int = 1) -> Sink:
    """A sink that closes with the stack."""
    sink = Sink()
    await sink.listen(ports)
    stack.callback(sink.close)
    return sink


async def drive(
    program: Program, sink: Sink, names: list[str], count: int, *, producer: Producer | None = None
) -> Segment:
    """Sends as fast as the program answers, with one event per notification. Raises `TimeoutError` if one is
    missing. A `producer` that the caller passes has the times of the requests and answers.
    """
    messages = [program.message(body) for body in bodies(names, count)]
    sink.reset()
    producer = producer or Producer(program.port)
    before, started = program.cpu_s(), time.perf_counter()
    await producer.as_fast_as_answered(messages, CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
    seconds = time.perf_counter() - started
    after = program.cpu_s()
    return Segment(
        per_s=count / seconds,
        cpu_us={name: (after[name] - before[name]) / count * 1e6 for name in after},
    )


async def drive_in_turns(
    programs: Mapping[str, Program], sink: Sink, names: list[str], count: int, rounds: int
) -> dict[str, list[Segment]]:
    """`rounds` segments of each program, one after the other, so that the load of the machine meets all."""
    runs: dict[str, list[Segment]] = {name: [] for name in programs}
    for n in range(rounds + 1):
        for name, program in programs.items():
            segment = await drive(program, sink, names, count)
            if n:  # the first round warms up
                runs[name].append(segment)
    return runs


async def paced_floor(
    program: Program, sink: Sink, names: list[str], count: int, per_s: float
) -> list[float]:
    """`paced` for the floor, which assigns no ids: each body contains its own."""
    messages = [
        program.message(b'{"is":"Observation/floor-%d",' % n + body[1:])
        for n, body in enumerate(bodies(names, count))
    ]
    sink.reset()
    producer = Producer(program.port)
    await producer.at_rate(messages, per_s, 4 * CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
    return latencies({f"floor-{n}": at for n, at in producer.sent.values()}, sink.arrivals)


async def paced(
    program: Program,
    sink: Sink,
    names: list[str],
    count: int,
    per_s: float,
    *,
    others: frozenset[str] = frozenset(),
) -> list[float]:
    """Sends at a rate. The seconds from the moment that each POST was due to the arrival of its notification.

    Events of `others` are sent too, but not awaited.
    """
    messages = [program.message(body) for body in bodies(names, count)]
    sink.reset()
    producer = Producer(program.port)
    awaited = {n for n in range(count) if names[n % len(names)] not in others}
    await producer.at_rate(messages, per_s, 4 * CONNECTIONS)
    await sink.until(
        lambda: sum(sink.events[name] for name in names if name not in others) >= len(awaited), _TIMEOUT_S
    )
    return latencies(
        {resource_id: at for resource_id, (n, at) in producer.sent.items() if n in awaited}, sink.arrivals
    )
