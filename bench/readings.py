"""What a reading costs compared with a FHIR write: the same heart rates of the same patients, each to one
subscriber, in turns through one broker: as Observations, as payloads of a device, and as batches of payloads.

A reading is a FHIR write and more: its payload is decoded and mapped, its device and patient are resolved,
and its time is judged.
"""

import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Sequence

import httpx

from bench.figures import Figure, paired_ratio
from bench.rig import CONNECTIONS, Program, broker, patients, register
from bench.segments import Segment, drive, listening
from bench.wire import Producer, Sink, request
from broker.model import json_text

BENCH = "readings"
LEAST_RATE = 0.7
"""Readings a second, compared with FHIR writes a second."""
BATCH = 20
_SYSTEM = "urn:bench"
_TIMEOUT_S = 300.0


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (3, 1_000) if is_quick else (7, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        names = patients("reading")
        await _add_patients(program, names)
        await register(program, sink, names)
        runs: dict[str, list[Segment]] = {"writes": [], "readings": [], "batches": []}
        for n in range(rounds + 1):  # the first round warms up, and creates the devices
            written = await drive(program, sink, names, count)
            single = await _send(program, sink, names, count, n * 2, batch=1)
            batched = await _send(program, sink, names, count, n * 2 + 1, batch=BATCH)
            if n:
                runs["writes"].append(written)
                runs["readings"].append(single)
                runs["batches"].append(batched)
    for name, segments in runs.items():
        yield Figure(BENCH, f"rate of {name}", statistics.median(_rates(segments)), "events/s")
        yield Figure(BENCH, f"CPU of serve for {name}", statistics.median(_cpu(segments)), "µs/event")
    ratio = paired_ratio(_rates(runs["readings"]), _rates(runs["writes"]))
    yield Figure(BENCH, "rate of readings / writes", ratio, at_least=LEAST_RATE)
    ratio = paired_ratio(_rates(runs["batches"]), _rates(runs["writes"]))
    yield Figure(BENCH, f"rate of readings in batches of {BATCH} / writes", ratio)
    yield Figure(
        BENCH, "CPU of readings / writes", paired_ratio(_cpu(runs["readings"]), _cpu(runs["writes"]))
    )


def _rates(segments: Sequence[Segment]) -> list[float]:
    return [segment.per_s for segment in segments]


def _cpu(segments: Sequence[Segment]) -> list[float]:
    return [segment.cpu_us["serve"] for segment in segments]


async def _add_patients(program: Program, names: Sequence[str]) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for name in names:
            patient = {
                "resourceType": "Patient",
                "id": name,
                "identifier": [{"system": _SYSTEM, "value": name}],
            }
            response = await client.put(f"{program.base}/Patient/{name}", json=patient)
            response.raise_for_status()


def _payload(name: str, n: int, series: int) -> dict[str, object]:
    """A heart rate of another second for each `n` and `series`."""
    second = 1_700_000_000 + series * 100_000 + n
    at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(second))
    return {
        "kind": "heart-rate-monitor",
        "device": {"system": _SYSTEM, "value": f"device-{name}"},
        "patient": {"system": _SYSTEM, "value": name},
        "readings": [{"time": at, "heartRate": 55 + n % 75}],
    }


async def _send(
    program: Program, sink: Sink, names: Sequence[str], count: int, series: int, *, batch: int
) -> Segment:
    payloads = [_payload(names[n % len(names)], n, series) for n in range(count)]
    bodies = (
        [json_text.encode(payload) for payload in payloads]
        if batch == 1
        else [json.dumps(payloads[n : n + batch]).encode() for n in range(0, count, batch)]
    )
    messages = [request("/readings", body, content_type="application/json") for body in bodies]
    sink.reset()
    producer = Producer(program.port)
    before, started = program.cpu_s(), time.perf_counter()
    await producer.as_fast_as_answered(messages, CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
    seconds = time.perf_counter() - started
    after = program.cpu_s()
    return Segment(
        per_s=count / seconds,
        cpu_us={name: (after[name] - before[name]) / count * 1e6 for name in after},
    )
