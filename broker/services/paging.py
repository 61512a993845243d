"""Selects pages of ordered items. Pure; every search over what the broker itself holds uses it.

A page is named by the position it starts after or ends before, which is the sort values and the id of an
item, and not by a number: an item that is added or removed between two pages makes no other item appear twice
or never.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Generic, TypeVar

T = TypeVar("T")
Position = tuple[str | None, ...]
"""The sort values of an item and, last, its id. Positions of different items differ."""
_FIRST, _LAST = "", "last"
_SPARE = 64


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the items; `links` leads from a relation (first, previous, next, last) to the name of a page,
    '' the first.
    """

    items: Sequence[T]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PageName:
    """A page's name, read: `relation` is after or before the position, last, or '' for the first page."""

    relation: str
    position: Position = ()


def parse_page(text: str, length: int) -> PageName | None:
    """The name of a page of positions of that length; None for a text that names none."""
    relation, dot, encoded = text.partition(".")
    if not dot:
        return PageName(relation) if relation in {_FIRST, _LAST} else None
    if relation not in {"after", "before"}:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(position, list) or len(position) != length or not isinstance(position[-1], str):
        return None
    if not all(value is None or isinstance(value, str) for value in position):
        return None
    return PageName(relation, tuple(position))


class PageSelector(Generic[T]):
    """Selects the named page, of at most `count` (at least 1) items, from items that come one by one in any
    order of their positions.

    It holds about twice the items of a page, whatever the number of items.
    """

    def __init__(self, name: PageName, count: int, compare: Callable[[Position, Position], int]) -> None:
        self.total = 0
        self._name = name
        self._count = count
        self._compare = compare
        self._key = cmp_to_key(compare)
        self._is_backward = name.relation in {"before", "last"}
        self._kept: list[tuple[Position, T]] = []
        self._bound: Position | None = None
        self._others = 0

    def add(self, position: Position, item: T) -> None:
        """Adds one item; no other has its position."""
        self.total += 1
        if self._name.position:
            place = self._compare(position, self._name.position)
            if place >= 0 if self._is_backward else place <= 0:
                self._others += 1
                return
        if self._bound is not None:
            place = self._compare(position, self._bound)
            if place < 0 if self._is_backward else place > 0:
                return
        self._kept.append((position, item))
        if len(self._kept) >= 2 * self._count + _SPARE:
            self._drop()

    def _drop(self) -> None:
        self._kept.sort(key=lambda pair: self._key(pair[0]), reverse=self._is_backward)
        del self._kept[self._count :]
        self._bound = self._kept[-1][0]

    def page(self) -> Page[T]:
        """The page of the items that were added."""
        in_range = self.total - self._others
        size = self._count
        if self._name.relation == _LAST:
            size = (self.total - 1) % self._count + 1 if self.total else 0
        self._kept.sort(key=lambda pair: self._key(pair[0]), reverse=self._is_backward)
        selected = self._kept[:size]
        has_more, has_others = in_range > len(selected), self._others > 0
        if self._is_backward:
            selected.reverse()
            return page_of(selected, has_previous=has_more, has_next=has_others)
        return page_of(selected, has_previous=has_others, has_next=has_more)


def page_of(selected: Sequence[tuple[Position, T]], *, has_previous: bool, has_next: bool) -> Page[T]:
    """The page of these items in order, with its links."""
    links = {"first": _FIRST}
    if has_previous:
        links["previous"] = _page_name("before", selected[0][0]) if selected else _LAST
    if selected and has_next:
        links["next"] = _page_name("after", selected[-1][0])
    return Page([item for _, item in selected], links | {"last": _LAST})


def _page_name(relation: str, position: Position) -> str:
    return f"{relation}.{base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip('=')}"
