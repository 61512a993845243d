"""How long searches take by the number of stored readings, and what the indexes cost at each write.

Every patient has 100 readings, whatever the number of patients: a search finds the same, among more. The
store is filled by the function that accepts changes, without a matcher. Searches run one after the other on
one connection.
"""

import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import orjson

from bench.figures import Figure, spread
from bench.rig import LAYOUT, Program, broker
from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.search_index import SearchIndex
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.settings import Settings
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.redis_store import connect
from broker.store.resources import assign_id
from broker.testing.readings import HEART_RATE, observation

BENCH = "search"
SIZES = (10_000, 100_000, 1_000_000)
MOST_GROWTH = 1.5
"""The p99 at the largest size, compared with that at the smallest."""
READINGS_EACH = 100
_LOINC = "http://loinc.org"
_CODES = ("8867-4", "8310-5", "9279-1", "59408-5", "8480-6")
_BATCH = 200
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_DEFAULT = "the default"
_INDEXES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "none": {},
    "those of every type": {"*": ()},
    _DEFAULT: dict(Settings().search_indexes),
}


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    sizes, count = ((1_000, 10_000), 60) if is_quick else (SIZES, 500)
    p99: dict[str, list[float]] = {}
    async with broker(["api"]) as program:
        for before, size in zip((0, *sizes), sizes, strict=False):
            await _fill(program, _INDEXES[_DEFAULT], range(before, size - READINGS_EACH))
            since = await _moment(program)
            await _fill(program, _INDEXES[_DEFAULT], range(size - READINGS_EACH, size))
            for name, queries in _queries(size, since, count).items():
                measured = spread(await _timed(program, queries))
                p99.setdefault(name, []).append(measured.p99)
                yield Figure(BENCH, f"{name}, {size:,} readings, p50", measured.p50, "ms")
                yield Figure(BENCH, f"{name}, {size:,} readings, p99", measured.p99, "ms")
    for name, values in p99.items():
        growth = values[-1] / values[0]
        yield Figure(BENCH, f"{name}, p99 at the most / at the fewest", growth, at_most=MOST_GROWTH)
    async for figure in _costs(2_000 if is_quick else 50_000):
        yield figure


async def _costs(count: int) -> AsyncIterator[Figure]:
    """Of a write, by the indexes that there are."""
    for name, indexes in _INDEXES.items():
        index = _index(indexes)
        resources = [_reading(number) for number in range(count)]
        began_s = time.process_time()
        for resource in resources:
            index.entries(Release.R4, "Observation", resource)
        entries_s = time.process_time() - began_s
        async with broker(["api"], settings={"search_indexes": "off"}) as program:
            memory, store_s = await _memory(program), program.cpu_s().get("store", 0)
            await _fill(program, indexes, range(count))
            store_s = program.cpu_s().get("store", 0) - store_s
            memory = await _memory(program) - memory
        yield Figure(BENCH, f"a write with the indexes {name}: entries", entries_s / count * 1e6, "µs")
        yield Figure(BENCH, f"a write with the indexes {name}: store", store_s / count * 1e6, "µs")
        yield Figure(BENCH, f"a write with the indexes {name}: memory", memory / count, "bytes")


def _index(indexes: Mapping[str, Sequence[str]]) -> SearchIndex:
    return SearchIndex(indexes, SearchContext(SearchParameters()))


def _reading(number: int) -> Resource:
    """The 100 readings of a patient come one after the other."""
    patient, place = divmod(number, READINGS_EACH)
    at = (_BEGIN + timedelta(minutes=place)).isoformat()
    document = observation(HEART_RATE, f"p{patient}", at, 60 + place % 60)
    document["code"] = {"coding": [{"system": _LOINC, "code": _CODES[place % len(_CODES)]}]}
    return Resource(orjson.dumps(document | {"device": {"reference": f"Device/d{patient}"}}))


async def _fill(program: Program, indexes: Mapping[str, Sequence[str]], numbers: range) -> None:
    index, store = _index(indexes), connect(program.store_url, LAYOUT)
    await store.open()
    try:
        changes = Changes(store, keep_ms=3_600_000)
        for start in range(numbers.start, numbers.stop, _BATCH):
            batch = numbers[start - numbers.start : start - numbers.start + _BATCH]
            await changes.append([_proposal(index, number) for number in batch])
    finally:
        await store.close()


def _proposal(index: SearchIndex, number: int) -> Proposal:
    resource = _reading(number)
    entries = index.entries(Release.R4, "Observation", resource)
    placement = random.Random(number // READINGS_EACH).getrandbits(16)  # that of the patient, as intake does
    resource_id = assign_id(placement, f"reading {number}")
    return Proposal(
        DEFAULT_TENANT,
        "put",
        "Observation",
        resource_id,
        Release.R4,
        resource.without_version(type="Observation", id=resource_id).tail,
        sets=() if entries is None else entries.sets,
        date=0 if entries is None else entries.date,
    )


def _queries(size: int, since: str, count: int) -> Mapping[str, Iterator[str]]:
    """By kind of search; each asks about patients that chance chooses."""
    draw = random.Random(size)
    patients = [draw.randrange(size // READINGS_EACH) for _ in range(count)]
    code = quote(f"{_LOINC}|{_CODES[0]}")
    return {
        "patient and code, newest first": (
            f"patient=p{each}&code={code}&_sort=-date&_count=20" for each in patients
        ),
        "patient and day": (f"patient=p{each}&date=2026-01-01&_count=20" for each in patients),
        "device": (f"device=Device/d{each}&_count=20" for each in patients),
        "a poll that finds 100": (f"_lastUpdated=gt{since}&_count=100" for _ in patients),
        "the newest of all": ("_sort=-_lastUpdated&_count=20" for _ in patients),
    }


async def _timed(program: Program, queries: Iterator[str]) -> list[float]:
    """Seconds of each search. The first ones warm up."""
    seconds = []
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        for query in queries:
            url = f"{program.base}/Observation?{query}"
            began_s = time.perf_counter()
            response = await client.get(url)
            seconds.append(time.perf_counter() - began_s)
            if response.status_code != 200 or b'"match"' not in response.content:
                raise RuntimeError(f"{url}: {response.status_code} {response.text[:500]}")
    return seconds[10:]


async def _moment(program: Program) -> str:
    """That of a search now."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        response = await client.get(f"{program.base}/Observation?_summary=count")
        return str(response.raise_for_status().json()["meta"]["lastUpdated"])


async def _memory(program: Program) -> int:
    store = connect(program.store_url, LAYOUT)
    await store.open()
    try:
        return (await store.usage()).memory
    finally:
        await store.close()
