"""Cuts an ordered list into pages. Pure; every search over what the broker itself holds uses it.

A page is named by the position it starts after or ends before, which is the sort values and the id of an
item, and not by a number: an item that is added or removed between two pages makes no other item appear twice
or never.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Position = tuple[str | None, ...]
"""The sort values of an item and, last, its id. Positions of different items differ."""
_FIRST, _LAST = "", "last"


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


def cut(
    items: Sequence[T],
    positions: Sequence[Position],
    page: PageName,
    count: int,
    compare: Callable[[Position, Position], int],
) -> Page[T]:
    """The named page of items in the order of their `positions` by `compare`, `count` (at least 1) items at
    most.
    """
    end = len(items)
    match page.relation:
        case "after":
            start = next((n for n, each in enumerate(positions) if compare(each, page.position) > 0), end)
        case "before":
            marker = next((n for n, each in enumerate(positions) if compare(each, page.position) >= 0), end)
            start, end = max(0, marker - count), marker
        case "last":
            start = max(0, (end - 1) // count * count)
        case _:
            start = 0
    selected = items[start : min(end, start + count)]
    links = {"first": _FIRST}
    if start > 0:
        links["previous"] = _name("before", positions[start]) if selected else _LAST
    if selected and start + len(selected) < len(items):
        links["next"] = _name("after", positions[start + len(selected) - 1])
    return Page(selected, links | {"last": _LAST})


def _name(relation: str, position: Position) -> str:
    return f"{relation}.{base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip('=')}"
