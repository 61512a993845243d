"""Indexes are built of what is stored: after the migration to schema 8, and after a change of the setting."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.search_index import SearchIndex
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store import search_keys
from broker.store.bodies import UNSEALED
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.search_builds import SearchBuilds, stale_types
from broker.store.search_sets import SearchSets
from broker.store.set_lengths import add_set_lengths
from broker.workers.search_builder import SearchBuilder
from tests.conformance.test_search_sets import ids
from tests.conftest import ALL_STORES
from tests.stores import redis_of

STORES = ALL_STORES
CONTEXT = SearchContext(SearchParameters())


def proposal(resource_id: str, code: str, *, type: str = "Observation") -> Proposal:
    body = b'},"status":"final","code":{"coding":[{"code":"%s"}]}}' % code.encode()
    return Proposal(DEFAULT_TENANT, "put", type, resource_id, Release.R4, body)


def deletion(resource_id: str) -> Proposal:
    return Proposal(DEFAULT_TENANT, "delete", "Observation", resource_id, Release.R4, b"")


async def build(store: Store, indexes: Mapping[str, Sequence[str]]) -> SearchBuilds:
    """Runs a builder until everything is complete."""
    builds = SearchBuilds(store, UNSEALED, {name: ",".join(each) or "-" for name, each in indexes.items()})
    await builds.prepare()
    stop = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(SearchBuilder(builds, SearchIndex(indexes, CONTEXT), stop).run())
        while await builds.stale():  # noqa: ASYNC110 only the store knows
            await asyncio.sleep(0.01)
        stop.set()
    return builds


async def names_of(store: Store, pattern: str) -> set[bytes]:
    redis: Any = redis_of(store)
    return {name async for name in redis.scan_iter(pattern)}


async def test_a_data_set_of_schema_7_is_read_and_indexed(store: Store) -> None:
    changes, resources = Changes(store, keep_ms=3_600_000), Resources(store)
    await changes.append([proposal("a", "x"), proposal("b", "x"), proposal("c", "y")])
    await changes.append([proposal("a", "y"), deletion("c")])
    redis: Any = redis_of(store)
    stored = [name for name in await names_of(store, "{p*}:resource:*") if not name.endswith(b":event")]
    assert len(stored) == 5
    for name in stored:  # as schema 7 has it: no length of a list of sets
        head, _, rest = (await redis.get(name)).partition(b"\n")
        await redis.set(name, head.rpartition(b" ")[0] + b"\n" + rest)
    for _ in range(2):
        await add_set_lengths(store)
    current = await resources.current(DEFAULT_TENANT, "Observation", "a")
    assert current is not None
    assert current.resource is not None
    assert current.key.version == 2
    await build(store, {"Observation": ("code",)})
    sets = SearchSets(store, resources, DEFAULT_TENANT, "Observation")
    assert await ids(sets, "m") == {"a", "b"}
    assert await ids(sets, "v") == {"a 1", "a 2", "c 1", "c 2"}
    await changes.append([proposal("a", "z")])
    assert await ids(sets, "v") >= {"a 1", "a 2", "a 3"}


async def test_a_changed_setting_changes_the_sets_of_what_is_stored(store: Store) -> None:
    changes = Changes(store, keep_ms=3_600_000)
    await changes.append([proposal("a", "x"), proposal("b", "x", type="Flag")])
    await changes.append([proposal("a", "y"), deletion("b")])
    settings: list[dict[str, tuple[str, ...]]] = [
        {"Observation": ("code",)},
        {"*": ("code", "subject")},
        {"Flag": ()},
        {},
    ]
    for indexes in settings:
        builds = await build(store, indexes)
        index = SearchIndex(indexes, CONTEXT)
        current = Resource(b'{"resourceType":"Observation","code":{"coding":[{"code":"y"}]}}')
        entries = index.entries(Release.R4, "Observation", current)
        expected = set() if entries is None else {*entries.sets, "v"}
        prefix = search_keys.search_sets(
            store.layout.partition_of(DEFAULT_TENANT, "a"), DEFAULT_TENANT, "Observation"
        )
        found = {name.decode().removeprefix(prefix) for name in await names_of(store, f"{prefix}*")}
        assert found == expected, indexes
        assert await builds.is_complete("Observation")
    assert await names_of(store, "{p*}:search:*") == set()


async def test_what_is_written_while_indexes_are_built_is_in_them(store: Store) -> None:
    changes = Changes(store, keep_ms=3_600_000)
    await changes.append([proposal("a", "x"), proposal("b", "x")])
    builds = SearchBuilds(store, UNSEALED, {"Observation": "code"})
    await builds.prepare()
    assert not await builds.is_complete("Observation")
    pages = [page async for page in builds.resources(await builds.stale())]
    (written,) = await changes.append([proposal("a", "y")])
    assert written.key.version == 2
    await builds.index([(state, ("m", "mx"), 0) for page in pages for state in page])
    sets = SearchSets(store, Resources(store), DEFAULT_TENANT, "Observation")
    assert await ids(sets, "mx") == {"b"}  # the writer of `a` has indexed it


async def test_an_empty_data_set_is_complete_and_one_process_builds(store: Store) -> None:
    builds = SearchBuilds(store, UNSEALED, {"*": "-"})
    await builds.prepare()
    assert await builds.is_complete("Anything")
    assert await builds.claim("a")
    assert await builds.claim("a")
    assert not await builds.claim("b")


@pytest.mark.parametrize(
    ("complete", "wanted", "stale"),
    [
        ({}, {}, set()),
        ({}, {"A": "x"}, {"A"}),
        ({"A": "x"}, {"A": "x"}, set()),
        ({"A": ""}, {"A": "x"}, {"A"}),
        ({"A": "x"}, {}, {"A"}),
        ({"*": "x"}, {"*": "x", "A": "x"}, set()),
        ({"*": "x"}, {"*": "x", "A": "y"}, {"A"}),
        ({"*": "x", "A": "y"}, {"*": "x"}, {"A"}),
        ({"*": "x"}, {"*": "y", "A": "x"}, {"*"}),
    ],
)
def test_what_has_to_be_indexed_again(
    complete: dict[str, str], wanted: dict[str, str], stale: set[str]
) -> None:
    assert stale_types(complete, wanted) == stale
