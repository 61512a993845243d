"""Pages of a search: what each holds, where its links lead, and that none repeats or loses an item."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.services.paging import Page, cut, is_page

ITEMS = ["a", "b", "c", "d", "e"]


def walk(items: list[str], count: int, *, relation: str = "next", page: str = "") -> list[list[str]]:
    """The items of each page from the named one on, along the links of a relation."""
    pages = []
    while True:
        current = cut(items, items, page, count)
        pages.append(list(current.items))
        if relation not in current.links:
            return pages
        page = current.links[relation]


def test_pages_partition_the_items_in_both_directions() -> None:
    assert walk(ITEMS, 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert walk(ITEMS, 2, relation="previous", page="last") == [["e"], ["c", "d"], ["a", "b"]]


@given(st.sets(st.text("abcdef", min_size=1, max_size=3)), st.integers(1, 7))
def test_every_item_is_on_exactly_one_page(ids: set[str], count: int) -> None:
    items = sorted(ids)
    pages = walk(items, count)
    assert [item for page in pages for item in page] == items
    assert all(len(page) <= count for page in pages)


def test_an_item_added_or_removed_before_the_page_shifts_no_other() -> None:
    page = cut(ITEMS, ITEMS, "", 2).links["next"]
    without_first = ITEMS[1:]
    assert list(cut(without_first, without_first, page, 2).items) == ["c", "d"]
    with_more = ["0", *ITEMS]
    assert list(cut(with_more, with_more, page, 2).items) == ["c", "d"]


def test_an_empty_search_has_one_empty_page() -> None:
    page: Page[str] = cut([], [], "", 10)
    assert (list(page.items), dict(page.links)) == ([], {"first": "", "last": "last"})


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [("after.a-1", True), ("before.x", True), ("last", True), ("after.", False), ("2", False), ("", False)],
)
def test_only_names_of_pages_are_accepted(name: str, is_valid: bool) -> None:
    assert is_page(name) is is_valid
