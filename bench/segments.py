"""One stretch of measuring: so many events through a program, from the first POST to the last notification."""

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


async def paced(
    program: Program, sink: Sink, names: list[str], count: int, per_s: float, *, others: frozenset[str] = frozenset()
) -> list[float]:
    """Seconds from the moment a POST was due to its notification's arrival. Events of `others` are sent too, and not awaited."""
    messages = [program.message(body) for body in bodies(names, count)]
    sink.forget()
    producer = Producer(program.port)
    await producer.at_rate(messages, per_s, 4 * CONNECTIONS)
    awaited = sum(names[n % len(names)] not in others for n in range(count))

    def is_complete() -> bool:
        return sum(events for name, events in sink.events.items() if name not in others) >= awaited

    await sink.until(is_complete, _TIMEOUT_S)
    ignored = set(producer.sent) - set(sink.arrivals) if others else set()
    kept = {one: at for one, at in producer.sent.items() if one not in ignored and sink.paths[one] not in others}
    return latencies(kept, sink.arrivals)
