"""The pages of a snapshot are together what matched at its moment, each once and in order, whatever is
written between and during the reads, by clocks that differ and step back.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.change import DEFAULT_TENANT, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.services.snapshot_pages import (
    Direction,
    Merge,
    Position,
    SnapshotPage,
    SnapshotPageName,
    parse_snapshot_page,
)
from broker.services.snapshot_reader import Piece, SnapshotQuery, fill_page

PARTITIONS = (0, 1, 2)
IDS = tuple("abcdefgh")
START_MS = 1_000


@dataclass(frozen=True, slots=True)
class Write:
    """A put of a value and a date, or a deletion for no value; then the clock of a partition steps."""

    id: str
    value: int | None
    date: int
    steps: tuple[int, int, int]


@dataclass
class Data:
    """What the scripts keep: versions by id, and what was read and written in each partition."""

    versions: dict[str, list[Version]] = field(default_factory=dict)
    clocks: list[int] = field(default_factory=lambda: [START_MS, START_MS + 2, START_MS - 1])
    read: list[int] = field(default_factory=lambda: [0, 0, 0])
    written: list[int] = field(default_factory=lambda: [0, 0, 0])

    def write(self, write: Write) -> None:
        """As `append_changes.lua` dates a change."""
        partition = partition_of(write.id)
        versions = self.versions.get(write.id, [])
        if write.value is not None or (versions and versions[-1].resource is not None):
            before_ms = versions[-1].at_ms if versions else 0
            at_ms = max(self.clocks[partition], self.read[partition] + 1, before_ms)
            self.written[partition] = max(self.written[partition], at_ms)
            self.versions[write.id] = [*versions, version(write, len(versions) + 1, at_ms)]
        self.clocks = [clock + step for clock, step in zip(self.clocks, write.steps, strict=True)]

    def snapshot(self) -> int:
        """As `advance_read_moment.lua` does, in both calls."""
        moment_ms = 0
        for _ in range(2):
            for partition in PARTITIONS:
                moments = (self.clocks[partition], self.read[partition], self.written[partition], moment_ms)
                self.read[partition] = moment_ms = max(moments)
        return moment_ms

    def at(self, resource_id: str, moment_ms: int) -> Version | None:
        """The version of a moment; None for a deletion too."""
        past = [each for each in self.versions[resource_id] if each.at_ms <= moment_ms]
        return past[-1] if past and past[-1].resource is not None else None


@dataclass
class Source:
    """Candidates of the data, by the moment of the version or by date; writes come before each read."""

    data: Data
    writes: Iterator[Write]
    by_date: bool
    direction: Direction
    size: int

    def _write(self) -> None:
        for write in self.writes:
            self.data.write(write)
            if write.date % 2:  # else more writes before the read
                return

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        found = {}
        for partition, start in after.items():
            self._write()
            current = [
                position_of(versions[-1], self.by_date)
                for resource_id, versions in self.data.versions.items()
                if partition_of(resource_id) == partition and versions[-1].resource is not None
            ]
            following = [
                position
                for position in self.direction.ordered(current)
                if start is None or self.direction.is_after(position, start)
            ]
            found[partition] = Piece(following[: self.size], len(following) > self.size)
        return found

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        self._write()
        return {resource_id: self.data.versions[resource_id][-1] for resource_id in ids}

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        self._write()
        return {
            resource_id: self.data.at(resource_id, moment_ms)
            for resource_id, versions in self.data.versions.items()
            if versions[-1].at_ms > moment_ms
        }


def partition_of(resource_id: str) -> int:
    return IDS.index(resource_id) % len(PARTITIONS)


def version(write: Write, number: int, at_ms: int) -> Version:
    key = VersionKey(DEFAULT_TENANT, "Observation", write.id, number)
    if write.value is None:
        return Version(key, Release.R4, Interaction.DELETE, at_ms, None)
    resource = Resource(json.dumps({"value": write.value, "date": write.date}).encode())
    return Version(key, Release.R4, Interaction.UPDATE, at_ms, resource)


def position_of(version: Version, by_date: bool) -> Position:
    assert version.resource is not None
    return Position(version.resource.fields["date"] if by_date else version.at_ms, version.key.id)


WRITES = st.lists(
    st.builds(
        Write,
        st.sampled_from(IDS),
        st.none() | st.integers(0, 2),
        st.integers(0, 4),
        st.tuples(*(st.sampled_from([0, 0, 0, 1, 5, -3]) for _ in PARTITIONS)),
    ),
    max_size=40,
)


@given(WRITES, WRITES, st.booleans(), st.booleans(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_pages_are_the_matches_of_their_moment_each_once_and_in_order(
    before: list[Write],
    meanwhile: list[Write],
    by_date: bool,
    is_descending: bool,
    count: int,
    size: int,
    step: int,
) -> None:
    data, direction = Data(), Direction(is_descending)
    for write in before:
        data.write(write)
    moment_ms = data.snapshot()

    def judge(version: Version) -> tuple[Position, VersionKey] | None:
        if version.resource is None or version.resource.fields["value"] == 0:
            return None
        return position_of(version, by_date), version.key

    states = [data.at(resource_id, moment_ms) for resource_id in data.versions]
    matches = dict(judged for state in states if state is not None and (judged := judge(state)) is not None)
    expected = [matches[position] for position in direction.ordered(matches)]
    source = Source(data, iter(meanwhile), by_date, direction, size)
    query = SnapshotQuery(moment_ms, direction, judge)
    found: list[VersionKey] = []

    async def read_all() -> None:
        after: Position | None = None
        while True:
            page = SnapshotPage[VersionKey](count)
            after = await fill_page(query, source, page, PARTITIONS, after, step=step)
            assert len(page.items) <= count
            found.extend(page.items)
            if after is None:
                return

    asyncio.run(read_all())
    assert found == expected


@given(WRITES, WRITES)
def test_polls_by_the_moment_of_the_first_page_see_every_version_that_stays(
    first: list[Write], second: list[Write]
) -> None:
    data = Data()
    for write in first:
        data.write(write)
    moment_ms = data.snapshot()
    seen = {version.key for versions in data.versions.values() for version in versions}
    for write in second:
        data.write(write)
    later_ms = data.snapshot()
    polled = {
        versions[-1].key
        for versions in data.versions.values()
        if versions and moment_ms < versions[-1].at_ms <= later_ms
    }
    assert polled == {versions[-1].key for versions in data.versions.values() if versions} - seen


_POSITIONS = st.builds(Position, st.integers(0, 9), st.sampled_from(IDS))


@given(st.lists(st.lists(_POSITIONS, max_size=12), max_size=4))
def test_a_merge_takes_what_all_sources_have_each_once(lists: list[list[Position]]) -> None:
    for direction in (Direction(), Direction(is_descending=True)):
        merge = Merge(range(len(lists)), direction)
        sources = [direction.ordered(positions) for positions in lists]
        taken: list[Position] = []
        while not merge.is_exhausted:
            for number, resume in merge.wanted().items():
                rest = [
                    each for each in sources[number] if resume is None or direction.is_after(each, resume)
                ]
                merge.add(number, rest[:2], has_more=len(rest) > 2)
            taken += merge.take(3)
        assert taken == direction.ordered(position for positions in lists for position in positions)


def test_a_page_in_the_order_of_moments_does_not_end_inside_a_millisecond() -> None:
    page = SnapshotPage[str](2, keeps_moments_whole=True, limit=4)
    for number in range(3):
        assert not page.is_full_before(Position(7, f"r{number}"))
        page.add(Position(7, f"r{number}"), "")
    assert page.is_full_before(Position(8, "a"))
    page.add(Position(7, "r4"), "")
    assert page.is_full_before(Position(7, "r5"))


_PLACES = st.none() | st.builds(
    Position, st.integers(-9, 9**9), st.sampled_from(["a", "A.b-1", "Device/a-1", "Device/a 12"])
)


@given(st.builds(SnapshotPageName, st.integers(0, 10**14), _PLACES))
def test_the_name_of_a_page_is_read_again(name: SnapshotPageName) -> None:
    assert parse_snapshot_page(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "at.", "at.x", "at.1.2", "at.1.2.", "at.1.2.a/b", "at.1.2.a.b c", "at.1.2.Ab/c d", "last"]
)
def test_other_texts_name_no_page(text: str) -> None:
    assert parse_snapshot_page(text) is None
