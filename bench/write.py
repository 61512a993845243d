"""Events per second from POST to the resource at an EHR, written by transactions, compared with notifications
of as many events to a rest-hook in the same run.

One broker; the EHR and the rest-hook are in the measuring process. Segments run in turns: one subscription
with full resources and the same `maxCount`. The EHR does not validate, since its own cost is not measured.
The processor time of the broker and its store is compared too.
"""

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx

from bench.figures import Figure, paired_ratio
from bench.rig import CONNECTIONS, TOPIC, Program, broker, register, register_documents
from bench.segments import Segment, listening
from bench.wire import Producer, Sink
from broker.testing.ehr import SimulatedEhr
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import BACKPORT, subscription

BENCH = "write"
MAX_COUNT = 50
SHARE = 0.8
_TIMEOUT_S = 300.0
_PATIENTS = ("hook", "chart")
_TARGET = """
[[target]]
name = "ehr"
base = "{base}"
types = ["Observation"]
lookups = ["Patient"]
identifier_system = "urn:broker"
max_entries = {max_entries}
"""
_CHANNEL = {"system": "http://fhir-broker.org/channel-types", "code": "fhir-write"}


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields the figures at the end."""
    rounds, count = (3, 1_500) if is_quick else (7, 6_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        ehr = await stack.enter_async_context(SimulatedEhr(is_checked=False))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        targets = folder / "targets.toml"
        targets.write_text(_TARGET.format(base=ehr.base, max_entries=MAX_COUNT))
        program = await stack.enter_async_context(broker(settings={"write_targets": str(targets)}))
        await _add_patients(program, ehr)
        await register(program, sink, [_PATIENTS[0]], content="full-resource", max_count=MAX_COUNT)
        await register_documents(program, [_document()])
        hooks, writes = [], []
        for n in range(rounds + 1):
            hook = await _notify(program, sink, count)
            write = await _write(program, ehr, count)
            if n:  # the first round warms up
                hooks.append(hook)
                writes.append(write)
    for figure in _figures(hooks, writes):
        yield figure


def _figures(hooks: list[Segment], writes: list[Segment]) -> list[Figure]:
    figures = []
    for name, segments in (("rest-hook", hooks), ("EHR", writes)):
        figures.append(Figure(BENCH, name, statistics.median(each.per_s for each in segments), "events/s"))
        figures.append(Figure(BENCH, f"{name}, CPU", _cpu(segments), "µs/event"))
    share = paired_ratio([each.per_s for each in writes], [each.per_s for each in hooks])
    figures.append(Figure(BENCH, "EHR / rest-hook", share, at_least=SHARE))
    figures.append(Figure(BENCH, "EHR / rest-hook, CPU", _cpu(writes) / _cpu(hooks)))
    return figures


def _cpu(segments: list[Segment]) -> float:
    return statistics.median(sum(each.cpu_us.values()) for each in segments)


async def _add_patients(program: Program, ehr: SimulatedEhr) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
        for name in _PATIENTS:
            patient = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": name}]}
            for url, resource_id in ((program.base, name), (ehr.base, f"of-{name}")):
                response = await client.put(
                    f"{url}/Patient/{resource_id}", json=patient | {"id": resource_id}
                )
                response.raise_for_status()


def _document() -> dict[str, object]:
    document = subscription(
        "r4",
        TOPIC,
        "fhir-write:ehr",
        content="full-resource",
        filters=[f"patient=Patient/{_PATIENTS[1]}"],
        max_count=MAX_COUNT,
    )
    extension = {"url": f"{BACKPORT}backport-channel-type", "valueCoding": _CHANNEL}
    document["channel"]["_type"] = {"extension": [extension]}
    return document


async def _notify(program: Program, sink: Sink, count: int) -> Segment:
    sink.reset()
    name = _PATIENTS[0]
    return await _segment(
        program, name, count, lambda: sink.until(lambda: sink.events[name] >= count, _TIMEOUT_S)
    )


async def _write(program: Program, ehr: SimulatedEhr, count: int) -> Segment:
    before = len(ehr.store.writes)

    async def until_written() -> None:
        async with asyncio.timeout(_TIMEOUT_S):
            while len(ehr.store.writes) < before + count:  # noqa: ASYNC110 a look costs nothing
                await asyncio.sleep(0.005)

    return await _segment(program, _PATIENTS[1], count, until_written)


async def _segment(
    program: Program, name: str, count: int, until_arrived: Callable[[], Awaitable[None]]
) -> Segment:
    readings = [observation(HEART_RATE, name, "2025-03-01T08:00:00Z", 55 + n % 75) for n in range(count)]
    for reading in readings:
        del reading["device"]  # the EHR need not know one
    messages = [program.message(json.dumps(reading).encode()) for reading in readings]
    before, started = program.cpu_s(), time.perf_counter()
    await Producer(program.port).as_fast_as_answered(messages, CONNECTIONS)
    await until_arrived()
    seconds = time.perf_counter() - started
    after = program.cpu_s()
    return Segment(
        count / seconds, {process: (after[process] - before[process]) / count * 1e6 for process in after}
    )
