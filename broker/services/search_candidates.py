"""The candidates of a search, from the sets of one way (`search_plan.py`), for `snapshot_reader.py`.

All kinds give the positions that current versions have in the order of the page.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.errors import Issue, Unprocessable
from broker.matching.search_ranges import DATED, ScoreRange
from broker.matching.search_terms import NO_DATE, SetKind
from broker.model.change import Version
from broker.services.search_plan import MAX_SORTED, IndexSet, Order, SecondKey, Way, place
from broker.services.snapshot_pages import Direction, Position, first_score, joined_score
from broker.services.snapshot_reader import Piece
from broker.store.scripts.search import PieceOfSet
from broker.store.search_sets import SearchSets

_SCORED_BY = {
    Order.MOMENT: (SetKind.MOMENT.value,),
    Order.DATE: (SetKind.DATE.value, SetKind.LONG_DATE.value),
}
"""The sets of all resources of a type that have the score of each order."""
_PIECE = 5_000
_AFTER_ALL_IDS = "~"


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
        return await self._read(after, self._size)

    async def _read(self, after: Mapping[int, Position | None], size: int) -> Mapping[int, Piece]:
        wanted = [self._piece(self._sources[number], position) for number, position in after.items()]
        members = await self._sets.pieces(wanted, size)
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


class TiedCandidates(WayCandidates):
    """The same in an order by two keys. A set knows the first, so a piece has whole groups of resources of
    which that is equal, and the scores of the second are read for them. A page costs what it reads in the
    order of the first key, and the groups where pieces begin: together they may have `MAX_SORTED` resources.
    """

    def __init__(
        self,
        sets: SearchSets,
        way: Way,
        direction: Direction,
        size: int,
        counts: Sequence[Sequence[int]],
        second: SecondKey,
    ) -> None:
        super().__init__(sets, way, direction, size, counts)
        self._order = way.order
        self._second = second
        self._reached: dict[int, Position] = {}

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        """Raises `Unprocessable` for a group that is too large."""
        groups = await self._groups({number: self._start(number, last) for number, last in after.items()})
        positions = [position for group in groups.values() for position in group.positions]
        joined = await _joined(self._sets, positions, self._second)
        return {
            number: Piece(
                self._direction.ordered(joined[position] for position in group.positions), group.has_more
            )
            for number, group in groups.items()
        }

    def _start(self, number: int, after: Position | None) -> Position | None:
        """In the order of the set: where the last piece of the source ended, or before the group of the last
        resource of an earlier page.
        """
        if after is None or number in self._reached:
            return self._reached.get(number)
        return Position(first_score(after.score), _AFTER_ALL_IDS if self._direction.is_descending else "")

    async def _groups(self, starts: Mapping[int, Position | None]) -> dict[int, Piece]:
        """The next whole groups of each source, in the order of the set."""
        read: dict[int, list[Position]] = {number: [] for number in starts}
        found: dict[int, Piece] = {}
        wanted, size = dict(starts), self._size
        while wanted:
            if sum(len(read[number]) for number in wanted) > MAX_SORTED:
                raise _too_many_ties(self._order, self._second)
            open_groups: dict[int, Position | None] = {}
            for number, piece in (await self._read(wanted, size)).items():
                positions = read[number]
                positions += piece.positions
                if not piece.has_more:
                    found[number] = Piece(positions, has_more=False)
                elif positions[0].score == positions[-1].score:
                    open_groups[number] = positions[-1]
                else:
                    whole = [each for each in positions if each.score != positions[-1].score]
                    found[number] = Piece(whole, has_more=True)
                    self._reached[number] = whole[-1]
            wanted, size = open_groups, min(2 * size, _PIECE)
        return {number: found[number] for number in starts}


async def _joined(
    sets: SearchSets, positions: Sequence[Position], second: SecondKey
) -> dict[Position, Position]:
    """The positions by both keys, by those of the first. What is not found there has no date, or was deleted
    meanwhile.
    """
    scores = await sets.scores([position.id for position in positions], _SCORED_BY[second.order])
    return {
        each: each._replace(score=joined_score(each.score, second.place(scores.get(each.id, NO_DATE))))
        for each in positions
    }


def _too_many_ties(first: Order, second: SecondKey) -> Unprocessable:
    text = (
        f"More than {MAX_SORTED:,} resources would have to be sorted by {second.order}, because so many have "
        f"the same {first}, or none. Sort by {first} alone, or narrow the search."
    )
    return Unprocessable(Issue("too-costly", text, "_sort"))


class ListedCandidates:
    """Resources by id, in the order of the page. It is one source."""

    def __init__(
        self,
        sets: SearchSets,
        ids: Sequence[str],
        order: Order,
        direction: Direction,
        second: SecondKey | None = None,
    ) -> None:
        self._sets = sets
        self._ids = ids
        self._order = order
        self._direction = direction
        self._second = second

    @property
    def sources(self) -> Sequence[int]:
        return (0,)

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        scores = await self._sets.scores(await self._all_ids(), _SCORED_BY[self._order])
        is_descending = self._direction.is_descending
        positions = [
            Position(place(score, is_descending=is_descending), each) for each, score in scores.items()
        ]
        if self._second is not None:
            positions = list((await _joined(self._sets, positions, self._second)).values())
        return dict.fromkeys(after, Piece(self._direction.ordered(positions), has_more=False))

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
        second: SecondKey | None = None,
    ) -> None:
        super().__init__(sets, (), order, direction, second)
        self._way = WayCandidates(sets, way, Direction(), _PIECE, counts)

    async def _all_ids(self) -> Sequence[str]:
        ids: set[str] = set()
        wanted: dict[int, Position | None] = dict.fromkeys(self._way.sources)
        while wanted:
            found = await self._way.pieces(wanted)
            ids.update(position.id for piece in found.values() for position in piece.positions)
            wanted = {number: piece.positions[-1] for number, piece in found.items() if piece.has_more}
        return sorted(ids)
