"""One stretch of measuring: so many events through a program, from the first POST to the last notification."""

import contextlib
import time
from dataclasses import dataclass

from bench.figures import latencies
from bench.rig import CONNECTIONS, Program, bodies
from bench.wire import Producer, Sink

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Segment:
    """What one stretch came to; `cpu_us` is the CPU time each process spent on an event."""

    per_s: float
    cpu_us: dict[str, float]


async def listening(stack: contextlib.AsyncExitStack, ports: int = 1) -> Sink:
    """A sink that closes with the stack."""
    sink = Sink()
    await sink.listen(ports)
    stack.callback(sink.close)
    return sink


async def drive(program: Program, sink: Sink, names: list[str], count: int) -> Segment:
    """As fast as the program answers; 1 event = 1 notification, each counted once. Raises if one is missing."""
    messages = [program.message(body) for body in bodies(names, count)]
    sink.forget()
    producer = Producer(program.port)
    before, began = program.cpu_s(), time.perf_counter()
    await producer.as_fast_as_answered(messages, CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
    seconds = time.perf_counter() - began
    after = program.cpu_s()
    return Segment(
        per_s=count / seconds,
        cpu_us={name: (after[name] - before[name]) / count * 1e6 for name in after},
    )


async def paced_floor(
    program: Program, sink: Sink, names: list[str], count: int, per_s: float
) -> list[float]:
    """The same of the floor, which gives what it passes on no id: each body has one of its own."""
    messages = [
        program.message(b'{"is":"Observation/floor-%d",' % n + body[1:])
        for n, body in enumerate(bodies(names, count))
    ]
    sink.forget()
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
    """Seconds from the moment a POST was due to its notification's arrival. Events of `others` are sent too, and not awaited."""
    messages = [program.message(body) for body in bodies(names, count)]
    sink.forget()
    producer = Producer(program.port)
    awaited = {n for n in range(count) if names[n % len(names)] not in others}
    await producer.at_rate(messages, per_s, 4 * CONNECTIONS)
    await sink.until(
        lambda: sum(sink.events[name] for name in names if name not in others) >= len(awaited), _TIMEOUT_S
    )
    return latencies({one: at for one, (n, at) in producer.sent.items() if n in awaited}, sink.arrivals)
