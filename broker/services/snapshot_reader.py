"""Fills a page of a snapshot from candidates that come from the store, whatever is written meanwhile.

An index names candidates by their current versions, so a resource that was changed after the snapshot has
left its place. The store says which were changed (`as_of`), with their versions at the moment of the
snapshot; the page has these at the place that they had. The order of the reads makes that right: a change is
visible in all of them at once, so one that an earlier read missed is in a later one (decision 290).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from broker.model.change import Version
from broker.services.snapshot_pages import Direction, Merge, Position, SnapshotPage
from broker.tasks import Slices

T = TypeVar("T")
MAX_CANDIDATES = 20_000
"""Candidates that a page looks at; then it ends, however few match."""


class Piece(NamedTuple):
    """Some positions of a source in order, and whether others follow."""

    positions: Sequence[Position]
    has_more: bool


class Candidates(Protocol):
    """A way to find what may match, by several sources, each in the order of the page."""

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        """What comes after the position in each source; from the beginning for None."""

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        """The current versions of resources, as far as there are any."""

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        """The versions, at that moment, of all resources that were changed after it: None for one that did
        not exist or was deleted.
        """


Judge = Callable[[Version], tuple[Position, T] | None]
"""The position and the item of a version that matches, else None."""


@dataclass(frozen=True, slots=True)
class SnapshotQuery(Generic[T]):
    """What a page shows: `judge` decides, and `direction` is that of the candidates too."""

    moment_ms: int
    direction: Direction
    judge: Judge[T]


async def fill_page(
    query: SnapshotQuery[T],
    candidates: Candidates,
    page: SnapshotPage[T],
    sources: Sequence[int],
    after: Position | None = None,
    *,
    step: int = 100,
) -> Position | None:
    """Adds matches after the position to the page. Returns the position after which the next page starts;
    None if this is the last.
    """
    merge = Merge(sources, query.direction, after)
    reached, seen = after, 0
    while True:
        while wanted := merge.wanted():
            for source, piece in (await candidates.pieces(wanted)).items():
                merge.add(source, piece.positions, has_more=piece.has_more)
        found = merge.take(step)
        versions = await candidates.current([position.id for position in found])
        # after the candidates and their versions: a change that was in neither as it happened is in here
        changed = await candidates.as_of(query.moment_ms)
        is_end = merge.is_exhausted
        matches = await _current_matches(query, found, versions, changed)
        matches |= await _former_matches(query, changed, reached, None if is_end else found[-1])
        for position in query.direction.ordered([*found, *matches]):
            if page.is_full_before(position):
                return reached
            if position in matches:
                page.add(position, matches[position])
            reached = position
        if is_end:
            return None
        seen += len(found)
        if seen >= MAX_CANDIDATES:
            return reached


async def _current_matches(
    query: SnapshotQuery[T],
    found: Sequence[Position],
    versions: Mapping[str, Version],
    changed: Mapping[str, Version | None],
) -> dict[Position, T]:
    """Those whose current version is in the snapshot."""
    matches: dict[Position, T] = {}
    slices = Slices()
    for position in found:
        await slices.pause()
        version = versions.get(position.id)
        if version is None or version.at_ms > query.moment_ms or position.id in changed:
            continue
        judged = query.judge(version)
        if judged is not None and judged[0] == position:
            matches[position] = judged[1]
    return matches


async def _former_matches(
    query: SnapshotQuery[T],
    changed: Mapping[str, Version | None],
    after: Position | None,
    until: Position | None,
) -> dict[Position, T]:
    """Those that were changed after the snapshot, at their places after one position and up to another."""
    matches: dict[Position, T] = {}
    slices = Slices()
    for version in changed.values():
        await slices.pause()
        judged = None if version is None else query.judge(version)
        if judged is None:
            continue
        position, item = judged
        is_past = after is not None and not query.direction.is_after(position, after)
        is_ahead = until is not None and query.direction.is_after(position, until)
        if not is_past and not is_ahead:
            matches[position] = item
    return matches
