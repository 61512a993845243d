"""Cuts a list into pages by id. Pure; every search uses it.

A page is named by the id it starts after or ends before, not by a position: an item that is added or removed
between two pages makes no other item appear twice or never.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_PAGE = re.compile(r"(after|before)\.([A-Za-z0-9\-.]{1,64})|(last)")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the items; `links` leads from a relation (first, previous, next, last) to the name of a page,
    '' the first.
    """

    items: Sequence[T]
    links: Mapping[str, str]


def is_page(name: str) -> bool:
    """Whether the text can name a page."""
    return _PAGE.fullmatch(name) is not None


def cut(items: Sequence[T], ids: Sequence[str], page: str, count: int) -> Page[T]:
    """The named page of items in the order of their `ids`, `count` (at least 1) items at most."""
    end = len(items)
    position, _, marker = page.partition(".")
    match position:
        case "after":
            start = next((n for n, item_id in enumerate(ids) if item_id > marker), end)
        case "before":
            after_marker = next((n for n, item_id in enumerate(ids) if item_id >= marker), end)
            start, end = max(0, after_marker - count), after_marker
        case "last":
            start = max(0, (end - 1) // count * count)
        case _:
            start = 0
    selected = items[start : min(end, start + count)]
    links = {"first": ""}
    if start > 0:
        links["previous"] = f"before.{ids[start]}" if selected else "last"
    if selected and ids[-1] != ids[start + len(selected) - 1]:
        links["next"] = f"after.{ids[start + len(selected) - 1]}"
    return Page(selected, links | {"last": "last"})
