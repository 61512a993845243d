"""The candidates of a search, from the sets of one way (`search_plan.py`), for `snapshot_reader.py`.

All kinds give the positions that current versions have in the order of the page.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.matching.search_ranges import DATED, ScoreRange
from broker.matching.search_terms import NO_DATE, SetKind
from broker.model.change import Version
from broker.services.search_plan import IndexSet, Order, Way
from broker.services.snapshot_pages import Direction, Position
from broker.services.snapshot_reader import Piece
from broker.store.scripts.search import PieceOfSet
from broker.store.search_sets import SearchSets

_SCORED_BY = {
    Order.MOMENT: (SetKind.MOMENT.value,),
    Order.DATE: (SetKind.DATE.value, SetKind.LONG_DATE.value),
}
"""The sets of all resources of a type that have the score of each order."""
_PIECE = 5_000


def date_place(date: int, direction: Direction) -> int:
    """The place of a date in the order of the page: a resource without one comes last in both directions."""
    return -NO_DATE if direction.is_descending and date == NO_DATE else date


class _Source(NamedTuple):
    """A range of a set in one partition. `is_undated`: its resources have no date and come last."""

    partition: int
    name: str
    range: ScoreRange
    is_undated: bool = False


class WayCandidates:
    """The way is in the order of the page. Each set of the way in each partition is a source, whose number is
    in `sources`, if it has members after the snapshot began: `counts` says how many of each set in each
    partition. What comes into one later is not in the snapshot. `size` is how many candidates one source
    gives at a time.
    """

    def __init__(
        self,
        sets: SearchSets,
        way: Way,
        direction: Direction,
        size: int,
        counts: Sequence[Sequence[int]],
    ) -> None:
        self._sets = sets
        self._direction = direction
        self._size = size
        self._sources = [
            source._replace(partition=partition)
            for part, by_partition in zip(way.sets, counts, strict=True)
            for source in _sources(part, way.order, direction)
            for partition, count in enumerate(by_partition)
            if count
        ]

    @property
    def sources(self) -> Sequence[int]:
        return range(len(self._sources))

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        wanted = [self._piece(self._sources[number], position) for number, position in after.items()]
        members = await self._sets.pieces(wanted, self._size)
        return {
            number: Piece(
                [
                    Position(-NO_DATE if self._sources[number].is_undated else score, each)
                    for score, each in found.members
                ],
                found.has_more,
            )
            for number, found in zip(after, members, strict=True)
        }

    def _piece(self, source: _Source, after: Position | None) -> PieceOfSet:
        if source.is_undated and after is not None:
            after = Position(NO_DATE, after.id) if after.score == -NO_DATE else None
        return PieceOfSet(source.partition, source.name, *source.range, self._direction.is_descending, after)

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        return await self._sets.current(ids)

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        return await self._sets.as_of(moment_ms)


def _sources(part: IndexSet, order: Order, direction: Direction) -> list[_Source]:
    """The ranges of a set, in any order, that together have its resources in the order of the page."""
    if order is Order.DATE and direction.is_descending and part.range.high == NO_DATE:
        dated, undated = part.range.both(DATED), part.range._replace(low=NO_DATE)
        return [_Source(0, part.name, dated), _Source(0, part.name, undated, is_undated=True)]
    return [_Source(0, part.name, part.range)]


class ListedCandidates:
    """Resources by id, in the order of the page. It is one source."""

    def __init__(self, sets: SearchSets, ids: Sequence[str], order: Order, direction: Direction) -> None:
        self._sets = sets
        self._ids = ids
        self._order = order
        self._direction = direction

    @property
    def sources(self) -> Sequence[int]:
        return (0,)

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        scores = await self._sets.scores(await self._all_ids(), _SCORED_BY[self._order])
        if self._order is Order.DATE:
            scores = {each: date_place(score, self._direction) for each, score in scores.items()}
        positions = self._direction.ordered(Position(score, each) for each, score in scores.items())
        return dict.fromkeys(after, Piece(positions, has_more=False))

    async def _all_ids(self) -> Sequence[str]:
        return self._ids

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        return await self._sets.current(ids)

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        return await self._sets.as_of(moment_ms)


class SortedCandidates(ListedCandidates):
    """The way is in another order: all of it is read and sorted (at most `MAX_SORTED`)."""

    def __init__(
        self,
        sets: SearchSets,
        way: Way,
        order: Order,
        direction: Direction,
        counts: Sequence[Sequence[int]],
    ) -> None:
        super().__init__(sets, (), order, direction)
        self._way = WayCandidates(sets, way, Direction(), _PIECE, counts)

    async def _all_ids(self) -> Sequence[str]:
        ids: set[str] = set()
        wanted: dict[int, Position | None] = dict.fromkeys(self._way.sources)
        while wanted:
            found = await self._way.pieces(wanted)
            ids.update(position.id for piece in found.values() for position in piece.positions)
            wanted = {number: piece.positions[-1] for number, piece in found.items() if piece.has_more}
        return sorted(ids)
