"""Bytes of store memory and of append-only file for each resource, by kind of key and by command.

Vital signs of about 700 bytes, each an event of one subscription; ECGs of 100 KB of sampled data; patients.
The figures are differences of what the server reports, so they contain its own overhead. Those by kind of
key come from a sample, and do not contain the overhead of the table of keys. The file is as written, since
the server does not rewrite it meanwhile, and at the end as a rewrite leaves it.
"""

import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from bench import append_only
from bench.figures import Figure
from bench.files import until_idle
from bench.rig import CONNECTIONS, broker, patients, register
from bench.segments import listening
from bench.wire import Producer, request
from broker.store.memory_sample import kind_of
from broker.testing.readings import HEART_RATE, observation

BENCH = "memory"
AT = "2026-03-01T08:00:00Z"
MAX_MEMORY, MAX_FILE = 450, 900
_SAMPLE = 2_000
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is sent; each body is an event of one subscription if `is_notified`. The broker has the default
    search indexes if `is_indexed`, and none otherwise.
    """

    name: str
    path: str
    bodies: Sequence[bytes]
    is_notified: bool = False
    is_indexed: bool = True
    max_memory: float | None = None
    max_file: float | None = None


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    readings, large = (4_000, 50) if is_quick else (20_000, 500)
    names = patients("patient")
    kinds = (
        _Kind(
            "a vital sign", "/r4/Observation", _vital_signs(names, readings), True, True, MAX_MEMORY, MAX_FILE
        ),
        _Kind(
            "a vital sign without search indexes",
            "/r4/Observation",
            _vital_signs(names, readings),
            is_notified=True,
            is_indexed=False,
        ),
        _Kind("an ECG of 100 KB", "/r4/Observation", [_ecg(n) for n in range(large)]),
        _Kind("a patient", "/r4/Patient", [_patient(n) for n in range(readings)]),
    )
    for kind in kinds:
        async for figure in _measure(kind, names):
            yield figure


async def _measure(kind: _Kind, names: Sequence[str]) -> AsyncIterator[Figure]:
    count = len(kind.bodies)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        settings = {} if kind.is_indexed else {"search_indexes": "off"}
        program = await stack.enter_async_context(broker(settings=settings))
        if kind.is_notified:
            await register(program, sink, names)
        store = redis.Redis.from_url(program.store_url, protocol=2, socket_timeout=60)
        stack.push_async_callback(store.aclose)
        await store.config_set(
            "auto-aof-rewrite-percentage", 0
        )  # what is written counts, not what a rewrite left
        data_dir = Path(str((await store.config_get("dir"))["dir"]))
        before, cpu_s = await _size(store), program.cpu_s()
        file_before = append_only.positions(data_dir)
        messages = [request(kind.path, body) for body in kind.bodies]
        await Producer(program.port).as_fast_as_answered(messages, CONNECTIONS)
        if kind.is_notified:
            await sink.until(lambda: sink.requests >= count, _TIMEOUT_S)
        memory, file = ((new - old) / count for new, old in zip(await _size(store), before, strict=True))
        yield Figure(BENCH, f"{kind.name}, JSON", len(kind.bodies[0]), "bytes")
        yield Figure(BENCH, f"{kind.name}, store memory", memory, "bytes", at_most=kind.max_memory)
        yield Figure(
            BENCH, f"{kind.name}, append-only file, as written", file, "bytes", at_most=kind.max_file
        )
        for process, seconds in program.cpu_s().items():
            share = (seconds - cpu_s[process]) / count * 1e6
            yield Figure(BENCH, f"{kind.name}, processor time of {process}", share, "µs")
        for name, size in (await _by_kind(store, count)).items():
            yield Figure(BENCH, f"{kind.name}, {name}", size, "bytes")
        for name, total in append_only.bytes_by_command(data_dir, file_before).most_common():
            if total / count >= 0.5:
                yield Figure(BENCH, f"{kind.name}, file, {name}", total / count, "bytes")
        await store.bgrewriteaof()
        await until_idle(store)
        _, rewritten = await _size(store)
        yield Figure(BENCH, f"{kind.name}, append-only file, rewritten", rewritten / count, "bytes")


async def _size(store: redis.Redis) -> tuple[int, int]:
    info: Any = await store.info()
    return info["used_memory"], info["aof_current_size"]


async def _by_kind(store: redis.Redis, count: int) -> dict[str, float]:
    """Memory for each resource by kind of key; estimated from a sample where there are many of a kind."""
    keys: dict[str, list[bytes]] = {}
    async for key in store.scan_iter(count=1_000):
        keys.setdefault(kind_of(key), []).append(key)
    sizes: Counter[str] = Counter()
    for kind, found in keys.items():
        sample = random.Random(1).sample(found, min(len(found), _SAMPLE))
        async with store.pipeline(transaction=False) as pipeline:
            for key in sample:
                pipeline.memory_usage(key, samples=0)
            replies = [size for size in await pipeline.execute() if size is not None]
        if replies:  # all of them may have expired
            sizes[kind] = round(sum(replies) / len(replies) * len(found))
    return {kind: size / count for kind, size in sizes.most_common() if size / count >= 0.5}


def _vital_signs(names: Sequence[str], count: int) -> list[bytes]:
    bodies = []
    for n in range(count):
        resource = observation(HEART_RATE, names[n % len(names)], AT, 55 + n % 75) | {
            "issued": AT,
            "performer": [{"reference": f"Practitioner/{n % 40}", "display": "Example, Nurse"}],
        }
        bodies.append(json.dumps(resource, separators=(",", ":")).encode())
    return bodies


def _ecg(seed: int) -> bytes:
    source, value, samples = random.Random(seed), 0, []
    for _ in range(25_000):
        value = max(-999, min(999, value + source.randint(-40, 40)))
        samples.append(str(value))
    resource = observation(HEART_RATE, "patient-0", AT, 70)
    del resource["valueQuantity"]
    resource["valueSampledData"] = {
        "origin": {"value": 0, "unit": "mV"},
        "period": 2,
        "dimensions": 1,
        "data": " ".join(samples),
    }
    return json.dumps(resource, separators=(",", ":")).encode()


def _patient(n: int) -> bytes:
    source = random.Random(n)
    return json.dumps(
        {
            "resourceType": "Patient",
            "identifier": [{"system": "urn:example:mrn", "value": f"{n:08}"}],
            "name": [{"family": f"Family{source.randint(1, 9_999)}", "given": ["Ana", "Maria"]}],
            "gender": "female",
            "birthDate": f"{source.randint(1930, 2020)}-{source.randint(1, 12):02}-01",
            "address": [{"line": [f"Street {n}"], "city": "Example", "postalCode": f"{n % 99_999:05}"}],
        },
        separators=(",", ":"),
    ).encode()
