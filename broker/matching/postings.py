"""The tree that finds candidates: subscriptions filed by what a focus must say for them to match.

A node files each of its subscriptions once: under its most selective keys, else by a bound, else in a rest that is looked at
every time. What is filed in one place becomes a node of its own when it grows, and files by the filters that are left. So a
subscription is evaluated only for what its places don't say already, and identical leftovers are evaluated once.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Protocol, TypeVar

from broker.matching.matcher import Match
from broker.matching.planner import Channel, Planner, Predicate
from broker.matching.predicates import Axis, Bound, Key, Range, Unit
from broker.matching.readers import Measured, Said
from broker.model.search import Filter

GROWN = 8
"""From here on a place is divided by the filters that are left."""

_Mark = tuple[Bound, int]


class Entry:
    """One subscription. Its match is made once."""

    __slots__ = ("filters", "match")

    def __init__(self, match: Match, filters: tuple[Filter, ...]) -> None:
        self.match = match
        self.filters = filters


Found = dict[Entry, None]


class Focus(Protocol):
    """What a change says, and whether it passes the filters that are left."""

    def said(self, channel: Channel) -> Said: ...

    def measured(self, channel: Channel, unit: Unit) -> Measured: ...

    def passes(self, left: tuple[Filter, ...], entries: Iterable[Entry]) -> bool: ...


class Single:
    """A place with one subscription: most are."""

    __slots__ = ("entry", "left")
    size = 1

    def __init__(self, entry: Entry, left: tuple[Filter, ...]) -> None:
        self.entry = entry
        self.left = left

    def find(self, focus: Focus, found: Found) -> None:
        if not self.left or focus.passes(self.left, (self.entry,)):
            found[self.entry] = None


class Few:
    """A place with a few subscriptions, or any number that can't be divided; together by what is left to evaluate."""

    __slots__ = ("groups", "size")

    def __init__(self) -> None:
        self.groups: dict[tuple[Filter, ...], Found] = {}
        self.size = 0

    def add(self, entry: Entry, left: tuple[Filter, ...]) -> None:
        self.groups.setdefault(left, {})[entry] = None
        self.size += 1

    def remove(self, entry: Entry, left: tuple[Filter, ...]) -> bool:
        group = self.groups.get(left)
        if group is None or entry not in group:
            return False
        del group[entry]
        if not group:
            del self.groups[left]
        self.size -= 1
        return True

    def members(self) -> Iterator[tuple[Entry, tuple[Filter, ...]]]:
        return ((entry, left) for left, group in self.groups.items() for entry in group)

    def find(self, focus: Focus, found: Found) -> None:
        for left, group in self.groups.items():
            if not left or focus.passes(left, group):
                found.update(group)


class Node:
    """A place divided. `used` are the channels by which its subscriptions came here."""

    __slots__ = ("equal", "planner", "ranges", "rest", "size", "used")

    def __init__(self, planner: Planner, used: frozenset[Channel] = frozenset()) -> None:
        self.planner = planner
        self.used = used
        self.size = 0
        self.equal: dict[Channel, dict[Key, Place]] = {}
        self.ranges: dict[tuple[Channel, Unit], dict[Axis, Sorted]] = {}
        self.rest = Few()

    def add(self, entry: Entry, left: tuple[Filter, ...], predicates: list[Predicate] | None = None) -> None:
        """`predicates` are those of `left`, if the caller knows them."""
        self.size += 1
        chosen = self._choose(self.planner.predicates(left) if predicates is None else predicates)
        if chosen is None:
            self.rest.add(entry, left)
            return
        left = _without(left, chosen)
        if chosen.range is not None:
            self._axis(chosen.channel, chosen.range).add(chosen.range, entry, left, (self, chosen.channel))
            return
        places = self.equal.setdefault(chosen.channel, {})
        for key in chosen.keys:
            place = places.get(key)
            places[key] = (
                Single(entry, left) if place is None else _added(place, entry, left, (self, chosen.channel))
            )

    def remove(
        self, entry: Entry, left: tuple[Filter, ...], predicates: list[Predicate] | None = None
    ) -> bool:
        """Whether it was here: looked for in each of the places where it can be."""
        for one in self.planner.predicates(left) if predicates is None else predicates:
            if one.channel not in self.used and self._taken(one, entry, _without(left, one)):
                self.size -= 1
                return True
        if self.rest.remove(entry, left):
            self.size -= 1
            return True
        return False

    def find(self, focus: Focus, found: Found) -> None:
        for channel, places in self.equal.items():
            said = focus.said(channel)
            for key in said.keys:
                place = places.get(key)
                if place is not None:
                    place.find(focus, found)
            if said.loose:
                for key in product(channel.systems, said.loose):
                    place = places.get(key)
                    if place is not None:
                        place.find(focus, found)
        if self.ranges:
            self._find_passed(focus, found)
        if self.rest.size:
            self.rest.find(focus, found)

    def _find_passed(self, focus: Focus, found: Found) -> None:
        for (channel, unit), axes in self.ranges.items():
            extremes = focus.measured(channel, unit).extremes
            if extremes is not None:
                for axis, some in axes.items():
                    for place in some.passed(axis, extremes[axis]):
                        place.find(focus, found)

    def _choose(self, predicates: list[Predicate]) -> Predicate | None:
        """Keys before bounds; of several, the one whose places hold least, by how many foci can be expected to meet there."""
        best: Predicate | None = None
        least = 0
        for one in predicates:
            if one.channel in self.used:
                continue
            cost = one.channel.cost * (1 + self._held(one))
            if one.range is not None:
                cost = 1 << 60
            if best is None or cost < least:
                best, least = one, cost
        return best

    def _held(self, predicate: Predicate) -> int:
        places = self.equal.get(predicate.channel)
        if places is None:
            return 0
        return sum(places[key].size for key in predicate.keys if key in places)

    def _axis(self, channel: Channel, wanted: Range) -> "Sorted":
        axes = self.ranges.setdefault((channel, wanted.unit), {})
        return axes.setdefault(wanted.axis, Sorted())

    def _taken(self, one: Predicate, entry: Entry, left: tuple[Filter, ...]) -> bool:
        if one.range is not None:
            key = one.channel, one.range.unit
            axes = self.ranges.get(key, {})
            some = axes.get(one.range.axis)
            if some is None or not some.remove(one.range, entry, left):
                return False
            if not some.marks:
                del axes[one.range.axis]
            if not axes:
                del self.ranges[key]
            return True
        places = self.equal.get(one.channel)
        if places is None:
            return False
        taken = [_removed(places, key, entry, left) for key in one.keys]
        if not places:
            del self.equal[one.channel]
        return any(taken)


class Sorted:
    """Bounds on one axis in order, so that those passed are a run at one end. Subscriptions with the same bound share a place."""

    __slots__ = ("marks", "places")

    def __init__(self) -> None:
        self.marks: list[_Mark] = []
        self.places: dict[_Mark, Place] = {}

    def add(self, wanted: Range, entry: Entry, left: tuple[Filter, ...], above: "_Above") -> None:
        mark = _mark(wanted)
        place = self.places.get(mark)
        if place is None:
            insort(self.marks, mark)
            self.places[mark] = Single(entry, left)
        else:
            self.places[mark] = _added(place, entry, left, above)

    def remove(self, wanted: Range, entry: Entry, left: tuple[Filter, ...]) -> bool:
        mark = _mark(wanted)
        if not _removed(self.places, mark, entry, left):
            return False
        if mark not in self.places:
            del self.marks[bisect_left(self.marks, mark)]
        return True

    def passed(self, axis: Axis, extreme: Bound) -> Iterator["Place"]:
        marks = self.marks
        if axis.is_max:
            run = marks[: bisect_left(marks, (extreme, 1))]
        else:
            run = marks[bisect_right(marks, (extreme, 0)) :]
        return (self.places[mark] for mark in run)


Place = Single | Few | Node
_Above = tuple[Node, Channel]
"""The node that a place is in, and the channel it is filed under there."""
_K = TypeVar("_K")


def _mark(wanted: Range) -> _Mark:
    """A bound that may be met sorts towards the end from which it is passed."""
    return wanted.bound, int(wanted.is_strict is wanted.axis.is_max)


def _without(left: tuple[Filter, ...], chosen: Predicate) -> tuple[Filter, ...]:
    if not chosen.is_exact:
        return left
    return tuple(one for one in left if one is not chosen.wanted and one != chosen.wanted)


def _added(place: Place, entry: Entry, left: tuple[Filter, ...], above: _Above) -> Place:
    """The place with one more in it, divided if it has grown."""
    if isinstance(place, Single):
        few = Few()
        few.add(place.entry, place.left)
        place = few
    elif isinstance(place, Few) and place.size >= GROWN and left:
        node, channel = above
        inner = Node(node.planner, node.used | {channel})
        for one in place.members():
            inner.add(*one)
        place = inner
    place.add(entry, left)
    return place


def _removed(places: dict[_K, Place], key: _K, entry: Entry, left: tuple[Filter, ...]) -> bool:
    place = places.get(key)
    if isinstance(place, Single):
        if place.entry is not entry:
            return False
        del places[key]
        return True
    if place is None or not place.remove(entry, left):
        return False
    if not place.size:
        del places[key]
    return True
