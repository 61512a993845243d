"""How long one large request or subscriber holds others up: the longest answer to a small neighbour request
meanwhile, less the longest without it, in one run.

One process of the broker. The neighbour asks `/livez` every few milliseconds, so its longest answer is the
longest time that the event loop worked on something else. The large ones: a resource of 4.9 MB of long
strings and of many components, a Bundle of 1,000 entries as a batch and as a transaction, and a
subscriber with a million waiting events.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import redis.asyncio as redis

from bench.figures import Figure
from bench.rig import LAYOUT, Program, broker, register
from bench.segments import listening
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.store import keys
from broker.store.records import EventRecord, encode
from broker.testing.readings import HEART_RATE, observation

BENCH = "large"
BEYOND_MS = 100
_EVERY_S = 0.004
_IDLE_S = 2.0
_AT = "2025-03-01T08:00:00Z"
_BYTES = 4_900_000
_HEADERS = {"Content-Type": "application/fhir+json"}


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    waiting, entries, rounds = (50_000, 1_000, 2) if is_quick else (1_000_000, 1_000, 5)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        client = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=60, base_url=program.base, headers=_HEADERS)
        )
        (subscription_id,) = await register(program, sink, ["large"])
        await _wait(program, subscription_id, waiting)
        usual_ms = await _longest_ms(program, lambda: asyncio.sleep(_IDLE_S))
        yield Figure(BENCH, "neighbour alone, longest", usual_ms, "ms")
        for name, path, document in [
            ("resource of 4.9 MB, long strings", "/Observation", _long_strings()),
            ("resource of 4.9 MB, components", "/Observation", _components()),
            (f"batch of {entries:,}", "", _bundle("batch", entries)),
            (f"transaction of {entries:,}", "", _bundle("transaction", entries)),
        ]:
            body = json.dumps(document, separators=(",", ":")).encode()
            delays = [await _longest_ms(program, partial(_post, client, path, body)) for _ in range(rounds)]
            yield Figure(BENCH, f"{name}, beyond", max(delays) - usual_ms, "ms", at_most=BEYOND_MS)
        for name, path in (
            ("$events", f"/Subscription/{subscription_id}/$events"),
            ("$status", f"/Subscription/{subscription_id}/$status"),
        ):
            delay_ms = await _longest_ms(program, partial(_get, client, path))
            full_name = f"{name} of {waiting:,} waiting events, beyond"
            yield Figure(BENCH, full_name, delay_ms - usual_ms, "ms", at_most=BEYOND_MS)


async def _longest_ms(program: Program, work: Callable[[], Awaitable[Any]]) -> float:
    """The longest answer to the neighbour while the work is done."""
    longest_s = 0.0
    url = f"http://127.0.0.1:{program.port}/livez"
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        await client.get(url)
        task = asyncio.ensure_future(work())
        while not task.done():
            began = time.perf_counter()
            await client.get(url)
            longest_s = max(longest_s, time.perf_counter() - began)
            await asyncio.sleep(_EVERY_S)
        await task
    return longest_s * 1000


async def _post(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(path or "/", content=body)
    if response.is_error:
        raise RuntimeError(response.text[:1000])


async def _get(client: httpx.AsyncClient, path: str) -> None:
    (await client.get(path)).raise_for_status()


async def _wait(program: Program, subscription_id: str, count: int) -> None:
    """Has events wait that refer to no stored resource; nothing claims them."""
    store = redis.Redis.from_url(program.store_url, protocol=2)
    shard = LAYOUT.shard_of(DEFAULT_TENANT, subscription_id)
    outbox = keys.outbox(shard, DEFAULT_TENANT, subscription_id)
    event = EventRecord(
        "Observation", "x", 1, Release.R4, Interaction.CREATE, at_ms=1_750_000_000_000, size=100
    )
    for start in range(1, count + 1, 1_000):
        pipeline = store.pipeline(transaction=False)
        for number in range(start, start + 1_000):
            pipeline.xadd(outbox, {"event": encode(event)}, id=f"{number}-0")
        await pipeline.execute()
    await store.hset(keys.subscription(shard, DEFAULT_TENANT, subscription_id), "count", count)
    await store.aclose()


def _long_strings() -> dict[str, Any]:
    reading = observation(HEART_RATE, "large", _AT, 70)
    return reading | {"note": [{"text": "x" * (_BYTES // 5)}] * 5}


def _components() -> dict[str, Any]:
    reading = observation(HEART_RATE, "large", _AT, 70)
    component = {"code": reading["code"], "valueQuantity": reading["valueQuantity"]}
    return reading | {
        "component": [component] * (_BYTES // len(json.dumps(component, separators=(",", ":"))))
    }


def _bundle(bundle_type: str, count: int) -> dict[str, Any]:
    entries = [
        {
            "resource": observation(HEART_RATE, f"entry-{n}", _AT, 70),
            "request": {"method": "POST", "url": "Observation"},
        }
        for n in range(count)
    ]
    return {"resourceType": "Bundle", "type": bundle_type, "entry": entries}
