"""Pages of a snapshot of stored resources: their names, and the merge of what partitions find. Pure.

A snapshot is what was current at a moment. All its pages have that moment and go through one order of
positions (decision 290). `snapshot_reader.py` fills a page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_MEMBER = r"(?:[A-Z][A-Za-z]{1,63}/)?[A-Za-z0-9\-.]{1,64}(?: \d{1,15})?"
_WIDTH = 10**17
"""Scores have at most 16 digits, with either sign."""
_NAME = re.compile(rf"at\.(\d{{1,15}})(?:\.(-?\d{{1,34}})\.({_MEMBER}))?", re.ASCII)


class Position(NamedTuple):
    """The place of a resource in an order: the number that it is ordered by, and its id. Sorted sets of the
    store have the same order, since ids are ASCII. In a history the id is `Type/id` or `Type/id version`.
    In an order by two keys the number is made by `joined_score`.
    """

    score: int
    id: str


def joined_score(first: int, second: int) -> int:
    """A number in the order of the first score, and of the second where the first ones are equal."""
    return first * _WIDTH + second + _WIDTH // 2


def first_score(joined: int) -> int:
    return joined // _WIDTH


class SnapshotPageName(NamedTuple):
    """A page of the snapshot at `moment_ms`: what comes after the position, or the first page for None."""

    moment_ms: int
    after: Position | None = None

    def __str__(self) -> str:
        position = "" if self.after is None else f".{self.after.score}.{self.after.id}"
        return f"at.{self.moment_ms}{position}"


def parse_snapshot_page(text: str) -> SnapshotPageName | None:
    """The page that a link names; None for a text that names none."""
    parts = _NAME.fullmatch(text)
    if parts is None:
        return None
    moment_ms, score, resource_id = parts.groups()
    after = None if score is None else Position(int(score), resource_id)
    return SnapshotPageName(int(moment_ms), after)


@dataclass(frozen=True, slots=True)
class Direction:
    """An order of positions, or its reverse."""

    is_descending: bool = False

    def is_after(self, position: Position, other: Position) -> bool:
        return position < other if self.is_descending else position > other

    def earliest(self, positions: Iterable[Position]) -> Position:
        return max(positions) if self.is_descending else min(positions)

    def ordered(self, positions: Iterable[Position]) -> list[Position]:
        """Each position once."""
        return sorted(set(positions), reverse=self.is_descending)


@dataclass(slots=True)
class _Source:
    """What is known of one source: positions that are not taken yet, in order, and where its next piece
    starts.
    """

    waiting: list[Position] = field(default_factory=list)
    resume: Position | None = None
    has_more: bool = True


class Merge:
    """Merges the positions of several sources, each of which gives its own in order and in pieces.

    Several sources may give the same position: it is taken once.
    """

    def __init__(self, sources: Iterable[int], direction: Direction, after: Position | None = None) -> None:
        self._direction = direction
        self._sources = {source: _Source(resume=after) for source in sources}
        self._after = after

    def wanted(self) -> Mapping[int, Position | None]:
        """The sources that have to give their next piece before anything can be taken, each with the position
        after which it starts.
        """
        return {
            number: source.resume
            for number, source in self._sources.items()
            if source.has_more and not source.waiting
        }

    def add(self, source: int, piece: Sequence[Position], *, has_more: bool) -> None:
        """The next positions of a source. Those at the place that the merge has reached, or before it, are
        ignored.
        """
        state = self._sources[source]
        state.has_more = has_more
        if piece:
            state.resume = piece[-1]
        after = self._after
        state.waiting += [
            position for position in piece if after is None or self._direction.is_after(position, after)
        ]

    def take(self, limit: int) -> list[Position]:
        """Up to `limit` of the next positions; none while a piece is wanted, or at the end."""
        if self.wanted():
            return []
        bounds = [source.waiting[-1] for source in self._sources.values() if source.has_more]
        bound = self._direction.earliest(bounds) if bounds else None
        ready = self._direction.ordered(
            position
            for source in self._sources.values()
            for position in source.waiting[:limit]
            if bound is None or not self._direction.is_after(position, bound)
        )[:limit]
        if ready:
            self._after = ready[-1]
            for source in self._sources.values():
                source.waiting = [
                    each for each in source.waiting if self._direction.is_after(each, ready[-1])
                ]
        return ready

    @property
    def is_exhausted(self) -> bool:
        return not any(source.has_more or source.waiting for source in self._sources.values())


class SnapshotPage(Generic[T]):
    """The matches of a page, of about `count`. `keeps_moments_whole`: positions are ordered by the moment of
    the version, and a page does not end inside a millisecond, unless it has `limit` matches. `is_joined`: by
    a second key too.
    """

    def __init__(
        self, count: int, *, keeps_moments_whole: bool = False, is_joined: bool = False, limit: int = 1_000
    ) -> None:
        self.items: list[T] = []
        self._count = count
        self._limit = max(count, limit)
        self._keeps_moments_whole = keeps_moments_whole
        self._is_joined = is_joined
        self._last: Position | None = None

    def is_full_before(self, position: Position) -> bool:
        """Whether the page ends before a match at this position."""
        if len(self.items) < self._count:
            return False
        is_inside = self._last is not None and self._moment(position) == self._moment(self._last)
        return not (self._keeps_moments_whole and is_inside and len(self.items) < self._limit)

    def _moment(self, position: Position) -> int:
        return first_score(position.score) if self._is_joined else position.score

    def add(self, position: Position, item: T) -> None:
        self.items.append(item)
        self._last = position
