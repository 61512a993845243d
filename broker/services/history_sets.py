"""The places of the versions of several types in the sorted sets of the store, for `history_reader.py`."""

import asyncio
from collections.abc import Mapping, Sequence

from broker.matching.search_terms import SetKind
from broker.model.change import Version
from broker.services.snapshot_pages import Position
from broker.services.snapshot_reader import Piece
from broker.store.scripts.search import PieceOfSet
from broker.store.search_sets import VERSIONS, SearchSets

_FIRST = " 1"
"""The end of a member that is a first version."""


class HistorySets:
    """The versions from one moment to another, both included, of the types of `sets`."""

    def __init__(self, sets: Mapping[str, SearchSets], since_ms: int, until_ms: int) -> None:
        self._sets = sets
        self._since_ms = since_ms
        self._until_ms = until_ms

    async def current(self, after: Position | None, size: int) -> Sequence[Piece]:
        """Of the current versions that are no deletions."""
        return await self._pieces(SetKind.MOMENT.value, after, size)

    async def of_several(self, after: Position | None, size: int) -> Sequence[Piece]:
        """Of each version of a resource that has several."""
        return await self._pieces(VERSIONS, after, size)

    async def versions(self, places: Sequence[Position]) -> Mapping[Position, Version]:
        """Those that are still stored."""
        by_type: dict[str, list[Position]] = {}
        for place in places:
            by_type.setdefault(place.id.partition("/")[0], []).append(place)
        found = await asyncio.gather(*(self._of_type(*each) for each in by_type.items()))
        return {place: version for versions in found for place, version in versions.items()}

    async def _of_type(self, resource_type: str, places: Sequence[Position]) -> dict[Position, Version]:
        keys = {}
        for place in places:
            resource_id, _, number = place.id.removeprefix(f"{resource_type}/").partition(" ")
            keys[place] = (resource_id, int(number or 1))
        versions = await self._sets[resource_type].versions(list(keys.values()))
        return {place: versions[key] for place, key in keys.items() if key in versions}

    async def _pieces(self, name: str, after: Position | None, size: int) -> list[Piece]:
        found = await asyncio.gather(
            *(
                sets.pieces(
                    [
                        PieceOfSet(
                            partition,
                            name,
                            self._since_ms,
                            self._until_ms,
                            is_descending=True,
                            after=_start(resource_type, after, is_numbered=name == VERSIONS),
                        )
                        for partition in range(sets.partitions)
                    ],
                    size,
                )
                for resource_type, sets in self._sets.items()
            )
        )
        return [
            Piece(
                [
                    Position(score, f"{resource_type}/{member.removesuffix(_FIRST)}")
                    for score, member in piece.members
                ],
                piece.has_more,
            )
            for resource_type, pieces in zip(self._sets, found, strict=True)
            for piece in pieces
        ]


def _start(resource_type: str, after: Position | None, *, is_numbered: bool = False) -> Position | None:
    """The place in the sets of a type after which all members come after a position of any type.
    `is_numbered`: members name the version, the first one too.
    """
    if after is None:
        return None
    prefix = f"{resource_type}/"
    if after.id.startswith(prefix):
        member = after.id.removeprefix(prefix)
        return Position(after.score, f"{member}{_FIRST}" if is_numbered and " " not in member else member)
    # the places of the type at that moment all come after the position, or none does
    return Position(after.score + 1 if prefix < after.id else after.score, "")


class CurrentSets:
    """The current resources of several types that were written up to a moment, newest first, as candidates of
    `snapshot_reader.py`. The id of a position is `Type/id`; each partition of each type is a source.
    """

    def __init__(self, sets: Mapping[str, SearchSets], until_ms: int, size: int) -> None:
        self._sets = sets
        self._until_ms = until_ms
        self._size = size
        self._sources = [(name, partition) for name in sets for partition in range(sets[name].partitions)]

    @property
    def sources(self) -> Sequence[int]:
        return range(len(self._sources))

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        by_type: dict[str, dict[int, PieceOfSet]] = {}
        for source, position in after.items():
            resource_type, partition = self._sources[source]
            by_type.setdefault(resource_type, {})[source] = PieceOfSet(
                partition,
                SetKind.MOMENT.value,
                0,
                self._until_ms,
                is_descending=True,
                after=_start(resource_type, position),
            )
        found = await asyncio.gather(
            *(self._sets[name].pieces(list(wanted.values()), self._size) for name, wanted in by_type.items())
        )
        return {
            source: Piece(
                [Position(score, f"{name}/{each}") for score, each in piece.members], piece.has_more
            )
            for (name, wanted), pieces in zip(by_type.items(), found, strict=True)
            for source, piece in zip(wanted, pieces, strict=True)
        }

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        by_type: dict[str, list[str]] = {}
        for reference in ids:
            resource_type, _, resource_id = reference.partition("/")
            by_type.setdefault(resource_type, []).append(resource_id)
        found = await asyncio.gather(*(self._sets[name].current(wanted) for name, wanted in by_type.items()))
        return {version.key.reference: version for versions in found for version in versions.values()}

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        found = await asyncio.gather(*(sets.as_of(moment_ms) for sets in self._sets.values()))
        return {
            f"{name}/{resource_id}": version
            for name, versions in zip(self._sets, found, strict=True)
            for resource_id, version in versions.items()
        }
