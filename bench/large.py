"""How long one large request or subscriber holds others up: the longest answer to a small neighbour request
meanwhile, less the longest without it, in one run.

One process of the broker. The neighbour asks `/livez` every few milliseconds, so its longest answer is the
longest time that the event loop worked on something else. The large ones: a resource of 4.9 MB of long
strings and of many components, a Bundle of 1,000 entries as a batch and as a transaction, a topic with 200
filters and a value set of 100,000 codes that arrive with a reload, and a subscriber with a million waiting
events, which the bench writes into the store.
"""

import asyncio
import contextlib
import json
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import redis.asyncio as redis

from bench import large_topics
from bench.figures import Figure
from bench.large_topics import write_large
from bench.rig import LAYOUT, ROOT, Program, broker, fresh_store, register, reload_topics
from bench.segments import listening
from bench.wire import Sink
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.store import keys
from broker.store.records import EventRecord, encode
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription

BENCH = "large"
BEYOND_MS = 100
_EVERY_S = 0.004
_IDLE_S = 2.0
_TIMEOUT_S = 60.0
_FILTERS = 200
_AT = "2025-03-01T08:00:00Z"
_BYTES = 4_900_000
_HEADERS = {"Content-Type": "application/fhir+json"}


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    waiting, codes, rounds = (50_000, 20_000, 2) if is_quick else (1_000_000, 100_000, 5)
    entries = 1_000
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        store = fresh_store(stack)
        topics = store[0] / "topics"
        shutil.copytree(ROOT / "topics", topics)
        program = await stack.enter_async_context(broker(store=store, settings={"topics_dir": str(topics)}))
        client = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=60, base_url=program.base, headers=_HEADERS)
        )
        (subscription_id,) = await register(program, sink, ["large"])
        await _wait(program, subscription_id, waiting)
        usual_ms = statistics.median(
            [await _longest_ms(program, lambda: asyncio.sleep(_IDLE_S)) for _ in range(5)]
        )
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
        write_large(topics, filters=_FILTERS, codes=codes)
        delay_ms = await _longest_ms(program, partial(_reload, program, client))
        name = f"reload with {_FILTERS} filters and {codes:,} codes, beyond"
        yield Figure(BENCH, name, delay_ms - usual_ms, "ms", at_most=BEYOND_MS)
        delay_ms = await _longest_ms(program, partial(_filter_by_value_set, client, sink))
        yield Figure(BENCH, f"event by {codes:,} codes, beyond", delay_ms - usual_ms, "ms", at_most=BEYOND_MS)
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


async def _reload(program: Program, client: httpx.AsyncClient) -> None:
    await reload_topics(program)
    url = f"http://127.0.0.1:{program.port}/r5/SubscriptionTopic/{large_topics.ID}"
    is_served = False
    async with asyncio.timeout(_TIMEOUT_S):
        while not is_served:
            is_served = (await client.get(url)).is_success
            await asyncio.sleep(_EVERY_S)


async def _filter_by_value_set(client: httpx.AsyncClient, sink: Sink) -> None:
    """Registers a subscription by the value set and has one event of it delivered."""
    filters = [f"code:in={large_topics.VALUE_SET}"]
    await register_subscription(
        client, str(client.base_url), subscription("r4", large_topics.URL, sink.url("codes"), filters=filters)
    )
    before = sink.requests
    code = {"coding": [{"system": large_topics.SYSTEM, "code": "c7"}]}
    reading = observation(HEART_RATE, "codes", _AT, 70) | {"code": code}
    await _post(client, "/Observation", json.dumps(reading).encode())
    await sink.until(lambda: sink.requests > before, _TIMEOUT_S)


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
