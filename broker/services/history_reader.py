"""Fills a page of the history of one or several types: every version in a span of time, newest first, each
once, whatever is written meanwhile.

The sorted sets have a version in one of two places: a first version, while it is the current one, in the set
of current resources (`m`), and all versions of a resource that has several in another (`v`), where they stay.
So each step reads a range of `m` and then the same range of `v`: a resource that was changed before the first
read, or between both, has its versions in `v`; one that is changed later was in `m`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from broker.model.change import Version
from broker.services.snapshot_pages import Position, SnapshotPage
from broker.services.snapshot_reader import Piece

_MAX_PLACES = 20_000
"""Places that a page looks at; then it ends, however few versions the client may read."""


class VersionPlaces(Protocol):
    """Where versions are, newest first. The id of a position is `Type/id number`, or `Type/id` for the first
    version, and in `m` for every one.
    """

    async def current(self, after: Position | None, size: int) -> Sequence[Piece]:
        """Up to `size` positions of each `m` after the position, from the beginning for None."""

    async def of_several(self, after: Position | None, size: int) -> Sequence[Piece]:
        """The same of each `v`."""

    async def versions(self, places: Sequence[Position]) -> Mapping[Position, Version]:
        """Those that are still stored; a place without a number names the first."""


Shows = Callable[[Sequence[Version]], Awaitable[Sequence[bool]]]
"""Which of the versions a page shows."""


async def fill_history(
    sets: VersionPlaces, page: SnapshotPage[Version], shows: Shows, after: Position | None, size: int
) -> Position | None:
    """Adds versions after the position to the page; a step reads up to `size` places of each set. Returns the
    position after which the next page starts; None if this is the last.
    """
    reached, seen = after, 0
    while True:
        step = await _read_step(sets, reached, size)
        stored = await sets.versions(step.places)
        # a place in `m` may be that of a later version
        placed = {place: version for place, version in stored.items() if version.at_ms == place.score}
        is_shown = dict(zip(placed, await shows(list(placed.values())), strict=True))
        for place in step.places:
            if page.is_full_before(place):
                return reached
            if is_shown.get(place):
                page.add(place, placed[place])
            reached = place
        seen += len(step.places)
        if step.resume is None or seen >= _MAX_PLACES:
            return step.resume
        reached = step.resume


class _Step(NamedTuple):
    """Places in order, and the position after which the next step starts; None at the end."""

    places: Sequence[Position]
    resume: Position | None


async def _read_step(sets: VersionPlaces, after: Position | None, size: int) -> _Step:
    current = await sets.current(after, size)
    of_several = await sets.of_several(after, size)  # after the current ones
    ends = [piece.positions[-1] for piece in (*current, *of_several) if piece.has_more]
    end = max(ends, default=None)  # up to here every piece is complete
    found = _until(end, of_several)
    # the place in `m` of a resource that has several versions is not that of a first one
    later = {Position(place.score, place.id.partition(" ")[0]) for place in found if " " in place.id}
    places = sorted(found | (_until(end, current) - later), reverse=True)
    # each piece may have `size` places; a page needs the versions of `size` of all
    return _Step(places[:size], places[size - 1] if len(places) > size else end)


def _until(end: Position | None, pieces: Sequence[Piece]) -> set[Position]:
    return {place for piece in pieces for place in piece.positions if end is None or place >= end}
