"""The sorted sets that searches read follow each write and removal, and snapshots of them are complete."""

import random
from collections.abc import Sequence
from typing import Literal

import pytest

from broker.matching.search_ranges import ScoreRange
from broker.model.change import DEFAULT_TENANT, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.services.search_candidates import TiedCandidates, WayCandidates
from broker.services.search_plan import IndexSet, Order, SecondKey, Way
from broker.services.snapshot_pages import Direction, Position, SnapshotPage, joined_score
from broker.services.snapshot_reader import SnapshotQuery, fill_page
from broker.store import search_keys
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.retention import Limits, Retention
from broker.store.scripts import intake
from broker.store.scripts.search import PieceOfSet
from broker.store.search_sets import SearchSets, SetRange
from tests.conftest import ALL_STORES
from tests.matched import mark_matched, unmatched

STORES = ALL_STORES
ALL = (-(2**50), 2**50)
OBSERVATION = "Observation"


@pytest.fixture
async def changes(store: Store) -> Changes:
    return Changes(store, keep_ms=3_600_000)


@pytest.fixture
async def sets(store: Store) -> SearchSets:
    return SearchSets(store, Resources(store), DEFAULT_TENANT, OBSERVATION)


def proposal(
    resource_id: str,
    *,
    op: Literal["put", "delete"] = "put",
    names: Sequence[str] = ("m", "d", "mcode"),
    date: int = 5,
) -> Proposal:
    body = b"" if op == "delete" else b'},"status":"final"}'
    return Proposal(
        DEFAULT_TENANT,
        op,
        OBSERVATION,
        resource_id,
        Release.R4,
        body,
        sets=() if op == "delete" else tuple(names),
        date=date,
    )


async def members(sets: SearchSets, name: str, *, is_descending: bool = False) -> list[tuple[int, str]]:
    """All of a set, from every partition."""
    wanted = [PieceOfSet(partition, name, *ALL, is_descending, None) for partition in range(sets.partitions)]
    found = [member for piece in await sets.pieces(wanted, 1_000) for member in piece.members]
    return sorted(found, reverse=is_descending)


async def ids(sets: SearchSets, name: str) -> set[str]:
    return {member for _, member in await members(sets, name)}


async def test_a_resource_is_in_its_sets_until_it_changes(changes: Changes, sets: SearchSets) -> None:
    (first,) = await changes.append([proposal("a", date=7)])
    assert await members(sets, "m") == await members(sets, "mcode") == [(first.at_ms, "a")]
    assert await members(sets, "d") == [(7, "a")]
    (second,) = await changes.append([proposal("a", names=("m", "l", "mother"), date=9)])
    assert await members(sets, "m") == await members(sets, "mother") == [(second.at_ms, "a")]
    assert await members(sets, "l") == [(9, "a")]
    assert await members(sets, "mcode") == await members(sets, "d") == []
    await changes.append([proposal("a", op="delete")])
    assert await members(sets, "m") == await members(sets, "mother") == await members(sets, "l") == []
    assert await ids(sets, "v") == {"a 1", "a 2", "a 3"}
    sizes = await sets.sizes([SetRange("v", *ALL), SetRange("m", *ALL)])
    assert list(map(sum, sizes)) == [3, 0]


async def test_two_versions_in_one_write_leave_the_sets_of_the_last(
    changes: Changes, sets: SearchSets
) -> None:
    await changes.append([proposal("a", names=("m", "mx")), proposal("a", names=("m", "my"))])
    assert await ids(sets, "mx") == set()
    assert await ids(sets, "my") == {"a"}


async def test_tenants_have_sets_of_their_own(changes: Changes, store: Store) -> None:
    await changes.append([proposal("a")])
    other = SearchSets(store, Resources(store), Tenant("other"), OBSERVATION)
    assert await members(other, "m") == []


async def test_retention_and_erasure_leave_nothing(changes: Changes, sets: SearchSets, store: Store) -> None:
    await changes.append([proposal("a"), proposal("b"), proposal("c")])
    await changes.append([proposal("a"), proposal("b", op="delete"), proposal("c")])
    partition = store.layout.partition_of(DEFAULT_TENANT, "c")
    key = VersionKey(DEFAULT_TENANT, OBSERVATION, "c", 2)
    await intake.erase_resource(store, partition, key, [1], is_current=True)
    assert await ids(sets, "m") == {"a"}
    for each in range(store.layout.partitions):
        await mark_matched(store, await unmatched(store, each))
    moment_ms = await sets.snapshot()
    while await sets.snapshot() == moment_ms:  # until all that was written is before the horizon
        pass
    await Retention(store, Limits(keep_ms=0, types={OBSERVATION: 0})).sweep()
    for name in ("m", "d", "mcode", "v"):
        assert await members(sets, name) == [], name


async def test_pieces_continue_after_a_place_that_is_gone(changes: Changes, store: Store) -> None:
    """All have one score, so ids decide."""
    sets = SearchSets(store, Resources(store), DEFAULT_TENANT, OBSERVATION)
    names = [f"r{number:03d}" for number in range(230)]
    await changes.append([proposal(name) for name in names])
    for is_descending in (False, True):
        for gone in ("r0405", "r040", "zz", "0"):
            wanted = [
                PieceOfSet(partition, "d", *ALL, is_descending, (5, gone))
                for partition in range(sets.partitions)
            ]
            pieces = await sets.pieces(wanted, 300)
            found = sorted(member for piece in pieces for _, member in piece.members)
            assert found == [name for name in names if (name < gone if is_descending else name > gone)]
            assert not any(piece.has_more for piece in pieces)


async def test_a_range_ends_a_piece(changes: Changes, sets: SearchSets) -> None:
    await changes.append([proposal(f"r{date}", date=date) for date in range(10)])
    for is_descending in (False, True):
        wanted = [
            PieceOfSet(partition, "d", 3, 6, is_descending, None) for partition in range(sets.partitions)
        ]
        found = [member for piece in await sets.pieces(wanted, 100) for member in piece.members]
        assert sorted(found) == [(date, f"r{date}") for date in range(3, 7)]


async def test_a_write_after_a_snapshot_is_dated_after_it(changes: Changes, sets: SearchSets) -> None:
    for number in range(20):
        moment_ms = await sets.snapshot()
        (accepted,) = await changes.append([proposal(f"r{number % 3}")])
        assert accepted.at_ms > moment_ms
        assert await sets.snapshot() >= accepted.at_ms


async def test_versions_as_of_a_snapshot(changes: Changes, sets: SearchSets) -> None:
    await changes.append([proposal("updated"), proposal("deleted"), proposal("same")])
    await changes.append([proposal("updated")])
    moment_ms = await sets.snapshot()
    await changes.append([proposal("updated"), proposal("deleted", op="delete"), proposal("new")])
    await changes.append([proposal("updated"), proposal("new")])
    found = await sets.as_of(moment_ms)
    versions = {name: version and version.key.version for name, version in found.items()}
    assert versions == {"updated": 2, "deleted": 1, "new": None}


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("has_second", [False, True])
async def test_pages_have_each_resource_of_the_snapshot_once(
    changes: Changes, sets: SearchSets, order: Order, is_descending: bool, has_second: bool
) -> None:
    draw = random.Random(7)
    dates = {f"r{number:02d}": draw.randrange(5) for number in range(60)}
    await changes.append([proposal(name, date=date) for name, date in dates.items()])
    moment_ms = await sets.snapshot()
    direction = Direction(is_descending)

    def judge(version: Version) -> tuple[Position, str]:
        name = version.key.id
        date = dates[name]
        score, other = (version.at_ms, date) if order is Order.MOMENT else (date, version.at_ms)
        if has_second:
            score = joined_score(score, other)
        return Position(score, name), f"{name}/{version.key.version}"

    name = "m" if order is Order.MOMENT else "d"
    way = Way(order, (IndexSet(name, ScoreRange(*ALL)),))
    counts = await sets.sizes([SetRange(name, *ALL)])
    second = SecondKey(Order.DATE if order is Order.MOMENT else Order.MOMENT, is_descending, False)
    found: list[str] = []
    after: Position | None = None
    while True:
        candidates = WayCandidates(sets, way, direction, 3, counts)
        if has_second:
            candidates = TiedCandidates(sets, way, direction, 3, counts, second)
        page = SnapshotPage[str](7)
        query = SnapshotQuery(moment_ms, direction, judge)
        after = await fill_page(query, candidates, page, candidates.sources, after, step=5)
        found += page.items
        if after is None:
            break
        changed = draw.sample(sorted(dates), 3)
        await changes.append([proposal(each, date=draw.randrange(5)) for each in changed[:2]])
        await changes.append([proposal(changed[2], op="delete"), proposal(f"new{len(found)}")])
    assert sorted(found) == [f"{name}/1" for name in dates]
    if order is Order.DATE:
        in_order = [dates[each.removesuffix("/1")] for each in found]
        assert in_order == sorted(in_order, reverse=is_descending)


def test_sets_of_a_type_have_one_prefix() -> None:
    assert search_keys.search_sets(3, DEFAULT_TENANT, OBSERVATION).startswith(
        "{p03}:search:default:Observation:"
    )
