"""A search by two keys: the second orders what is equal in the first, what has no date comes last, and pages
are together the matches of their moment, whatever is written between and during the reads.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Unprocessable
from broker.matching.search_ranges import WHOLE
from broker.matching.search_terms import NO_DATE
from broker.model.change import Version, VersionKey
from broker.services import search_candidates
from broker.services.search_candidates import ListedCandidates, TiedCandidates
from broker.services.search_plan import IndexSet, Order, SecondKey, Way, place
from broker.services.snapshot_pages import (
    Direction,
    Position,
    SnapshotPage,
    first_score,
    joined_score,
    parse_snapshot_page,
)
from broker.services.snapshot_pages import SnapshotPageName as Name
from broker.services.snapshot_reader import SnapshotQuery, fill_page
from broker.store.scripts.search import Members, PieceOfSet
from broker.store.search_sets import SearchSets
from tests.unit.services.test_snapshot_pages import IDS, PARTITIONS, WRITES, Data, Write, partition_of

UNDATED = 4
SETS = {Order.MOMENT: "m", Order.DATE: "d"}


def score_of(version: Version, order: Order) -> int:
    if order is Order.MOMENT:
        return version.at_ms
    assert version.resource is not None
    date: int = version.resource.fields["date"]
    return NO_DATE if date == UNDATED else date


@dataclass
class Sets:
    """The sorted sets of the data; writes come before each read."""

    data: Data
    writes: Iterator[Write]

    def _scores(self, name: str) -> dict[str, int]:
        for write in self.writes:
            self.data.write(write)
            if write.date % 2:  # else more writes before the read
                break
        order = next(order for order, each in SETS.items() if each == name)
        return {
            resource_id: score_of(versions[-1], order)
            for resource_id, versions in self.data.versions.items()
            if versions[-1].resource is not None
        }

    async def pieces(self, wanted: Sequence[PieceOfSet], size: int) -> list[Members]:
        found = []
        for piece in wanted:
            members = [
                (score, each)
                for each, score in self._scores(piece.name).items()
                if partition_of(each) == piece.partition and piece.low <= score <= piece.high
            ]
            following = [
                member
                for member in sorted(members, reverse=piece.is_descending)
                if piece.after is None
                or (member < piece.after if piece.is_descending else member > piece.after)
            ]
            found.append(Members(following[:size], len(following) > size))
        return found

    async def scores(self, ids: Sequence[str], names: Sequence[str]) -> dict[str, int]:
        scores = self._scores(names[0])
        return {each: scores[each] for each in ids if each in scores}

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        return {each: self.data.versions[each][-1] for each in ids if each in self.data.versions}

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        return {
            resource_id: self.data.at(resource_id, moment_ms)
            for resource_id, versions in self.data.versions.items()
            if versions[-1].at_ms > moment_ms
        }


@dataclass(frozen=True)
class Sort:
    """Two keys."""

    first: Order
    is_descending: bool
    second_is_descending: bool

    @property
    def second(self) -> SecondKey:
        other = Order.DATE if self.first is Order.MOMENT else Order.MOMENT
        is_opposite = self.is_descending != self.second_is_descending
        return SecondKey(other, self.second_is_descending, is_opposite)

    def candidates(self, sets: Sets, size: int, *, is_listed: bool) -> ListedCandidates | TiedCandidates:
        direction, stored = Direction(self.is_descending), cast("SearchSets", sets)
        if is_listed:
            return ListedCandidates(stored, IDS, self.first, direction, self.second)
        way = Way(self.first, (IndexSet(SETS[self.first], WHOLE),))
        return TiedCandidates(stored, way, direction, size, [[1 for _ in PARTITIONS]], self.second)

    def position(self, version: Version) -> Position:
        first = place(score_of(version, self.first), is_descending=self.is_descending)
        second = self.second.place(score_of(version, self.second.order))
        return Position(joined_score(first, second), version.key.id)

    def expected(self, versions: Sequence[Version]) -> list[VersionKey]:
        """By the meaning of FHIR: one sort for each key, the last key first."""
        ordered = sorted(versions, key=lambda version: version.key.id, reverse=self.is_descending)
        keys = ((self.second.order, self.second_is_descending), (self.first, self.is_descending))
        for order, is_descending in keys:
            sign = -1 if is_descending else 1
            ordered.sort(key=lambda each: (score_of(each, order) == NO_DATE, sign * score_of(each, order)))
        return [version.key for version in ordered]


SORTS = st.builds(Sort, st.sampled_from(Order), st.booleans(), st.booleans())


@given(WRITES, WRITES, SORTS, st.booleans(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_pages_are_the_matches_of_their_moment_each_once_and_in_order(
    before: list[Write],
    meanwhile: list[Write],
    sort: Sort,
    is_listed: bool,
    count: int,
    size: int,
    step: int,
) -> None:
    data = Data()
    for write in before:
        data.write(write)
    moment_ms = data.snapshot()

    def judge(version: Version) -> tuple[Position, VersionKey] | None:
        if version.resource is None or version.resource.fields["value"] == 0:
            return None
        return sort.position(version), version.key

    states = [data.at(resource_id, moment_ms) for resource_id in data.versions]
    expected = sort.expected([state for state in states if state is not None and judge(state) is not None])
    sets = Sets(data, iter(meanwhile))
    query = SnapshotQuery(moment_ms, Direction(sort.is_descending), judge)
    found: list[VersionKey] = []

    async def read_all() -> None:
        after: Position | None = None
        while True:
            page = SnapshotPage[VersionKey](count)
            candidates = sort.candidates(sets, size, is_listed=is_listed)
            after = await fill_page(query, candidates, page, candidates.sources, after, step=step)
            found.extend(page.items)
            if after is None:
                return
            name = parse_snapshot_page(str(Name(moment_ms, after)))
            assert name is not None
            after = name.after

    asyncio.run(read_all())
    assert found == expected


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("date", [1, UNDATED])
def test_too_many_resources_of_one_date_are_refused_and_the_keys_are_named(
    monkeypatch: pytest.MonkeyPatch, is_descending: bool, date: int
) -> None:
    monkeypatch.setattr(search_candidates, "MAX_SORTED", 1)
    data = Data()
    for resource_id in IDS:
        data.write(Write(resource_id, 1, date, (0, 0, 0)))
    sort = Sort(Order.DATE, is_descending, second_is_descending=True)
    candidates = sort.candidates(Sets(data, iter(())), 1, is_listed=False)
    with pytest.raises(Unprocessable) as refused:
        asyncio.run(candidates.pieces(dict.fromkeys(candidates.sources)))
    (issue,) = refused.value.issues
    assert (issue.code, issue.expression) == ("too-costly", "_sort")
    assert "sorted by _lastUpdated" in issue.text
    assert "Sort by date alone" in issue.text


_SCORES = st.integers(-(10**15), NO_DATE) | st.just(-NO_DATE)


@given(_SCORES, _SCORES, _SCORES, _SCORES)
def test_joined_scores_have_the_order_of_both(first: int, second: int, third: int, fourth: int) -> None:
    left, right = joined_score(first, second), joined_score(third, fourth)
    assert (left < right) == ((first, second) < (third, fourth))
    assert first_score(left) == first


def test_a_page_in_the_order_of_moments_then_dates_does_not_end_inside_a_millisecond() -> None:
    page = SnapshotPage[str](1, keeps_moments_whole=True, is_joined=True)
    page.add(Position(joined_score(7, NO_DATE), "a"), "")
    assert not page.is_full_before(Position(joined_score(7, -5), "b"))
    assert page.is_full_before(Position(joined_score(8, -5), "b"))
