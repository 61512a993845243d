"""The pages of a history are together every version of a span of time, each once, newest first, whatever is
written between and during the reads.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from broker.model.change import Version, VersionKey
from broker.services.history_reader import fill_history
from broker.services.snapshot_pages import Direction, Position, SnapshotPage
from broker.services.snapshot_reader import Piece
from tests.unit.services.test_snapshot_pages import IDS, PARTITIONS, WRITES, Data, Write, partition_of

TYPES = ("Device", "DeviceMetric")
NEWEST_FIRST = Direction(is_descending=True)


def type_of(resource_id: str) -> str:
    return TYPES[IDS.index(resource_id) // 4]


@dataclass
class Places:
    """What the sorted sets have; writes come before each read of one of them."""

    data: Data
    writes: Iterator[Write]
    since_ms: int
    until_ms: int

    def _write(self) -> None:
        for write in self.writes:
            self.data.write(write)
            if write.date % 2:  # else more writes before the read
                return

    def _pieces(self, *, is_several: bool, after: Position | None, size: int) -> list[Piece]:
        pieces = []
        for resource_type in TYPES:
            for partition in PARTITIONS:
                self._write()
                places = []
                for resource_id, versions in self.data.versions.items():
                    if (partition_of(resource_id), type_of(resource_id)) != (partition, resource_type):
                        continue
                    name = f"{resource_type}/{resource_id}"
                    if is_several and len(versions) > 1:
                        places += [
                            Position(each.at_ms, f"{name} {each.key.version}".removesuffix(" 1"))
                            for each in versions
                        ]
                    if not is_several and versions[-1].resource is not None:
                        places.append(Position(versions[-1].at_ms, name))
                following = [
                    place
                    for place in NEWEST_FIRST.ordered(places)
                    if self.since_ms <= place.score <= self.until_ms
                    and (after is None or NEWEST_FIRST.is_after(place, after))
                ]
                pieces.append(Piece(following[:size], len(following) > size))
        return pieces

    async def current(self, after: Position | None, size: int) -> Sequence[Piece]:
        return self._pieces(is_several=False, after=after, size=size)

    async def of_several(self, after: Position | None, size: int) -> Sequence[Piece]:
        return self._pieces(is_several=True, after=after, size=size)

    async def versions(self, places: Sequence[Position]) -> Mapping[Position, Version]:
        self._write()
        found = {}
        for place in places:
            resource_id, _, number = place.id.partition("/")[2].partition(" ")
            found[place] = self.data.versions[resource_id][int(number or 1) - 1]
        return found


@given(WRITES, WRITES, st.integers(0, 20), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_pages_are_every_version_of_the_span_each_once_and_newest_first(
    before: list[Write], meanwhile: list[Write], age: int, count: int, size: int, limit: int
) -> None:
    data = Data()
    for write in before:
        data.write(write)
    moment_ms = data.snapshot()
    since_ms = moment_ms - age
    expected = {
        each.key
        for versions in data.versions.values()
        for each in versions
        if since_ms <= each.at_ms <= moment_ms
    }
    places = Places(data, iter(meanwhile), since_ms, moment_ms)
    found: list[Version] = []

    async def shows(versions: Sequence[Version]) -> Sequence[bool]:
        return [True for _ in versions]

    async def read_all() -> None:
        after: Position | None = None
        while True:
            page = SnapshotPage[Version](count, keeps_moments_whole=True, limit=limit)
            after = await fill_history(places, page, shows, after, size)
            found.extend(page.items)
            if after is None:
                return

    asyncio.run(read_all())
    assert len(found) == len(expected)
    assert {each.key for each in found} == expected
    moments = [each.at_ms for each in found]
    assert moments == sorted(moments, reverse=True)


@given(st.lists(WRITES, min_size=1, max_size=5))
def test_polls_since_the_moment_of_the_last_poll_see_every_version(rounds: list[list[Write]]) -> None:
    data = Data()
    since_ms, seen = 0, set[VersionKey]()

    async def shows(versions: Sequence[Version]) -> Sequence[bool]:
        return [True for _ in versions]

    for writes in rounds:
        half = len(writes) // 2
        for write in writes[:half]:
            data.write(write)
        moment_ms = data.snapshot()
        places = Places(data, iter(writes[half:]), since_ms, moment_ms)
        page = SnapshotPage[Version](1_000)
        assert asyncio.run(fill_history(places, page, shows, None, 100)) is None
        seen |= {each.key for each in page.items}
        for write in places.writes:
            data.write(write)
        since_ms = moment_ms
    page = SnapshotPage[Version](1_000)
    asyncio.run(fill_history(Places(data, iter(()), since_ms, data.snapshot()), page, shows, None, 100))
    seen |= {each.key for each in page.items}
    assert seen == {each.key for versions in data.versions.values() for each in versions}
