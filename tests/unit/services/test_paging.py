"""Pages by position partition any set in the order asked for, whatever is added or removed meanwhile."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.search import ParameterType
from broker.services.paging import Page, PageName, Position, cut, parse_page
from broker.services.result_parameters import SortKey
from broker.services.search import Fields, SearchField
from broker.services.search_order import SearchOrder

Item = tuple[str, tuple[str, ...], str | None]
"""An id, names, and a date."""
ITEMS = ["a", "b", "c", "d", "e"]
FIELDS: Fields[Item] = {
    "_id": SearchField(ParameterType.TOKEN, lambda item: [item[0]]),
    "name": SearchField(ParameterType.STRING, lambda item: item[1]),
    "date": SearchField(ParameterType.DATE, lambda item: [item[2]]),
}
_IDS = st.text("abcdef", min_size=1, max_size=3)
_DATES = st.none() | st.sampled_from(
    ["2024", "2024-02", "2024-02-03", "2024-01-01/", "/2025", "2024-02-03T01:00:00Z"]
)
_ITEMS = st.lists(
    st.tuples(_IDS, st.lists(_IDS, max_size=2).map(tuple), _DATES), unique_by=lambda item: item[0]
)
_KEYS = st.lists(st.sampled_from(sorted(FIELDS)), unique=True).flatmap(
    lambda codes: st.tuples(*(st.builds(SortKey, st.just(code), st.booleans()) for code in codes))
)


def by_id(left: Position, right: Position) -> int:
    return SearchOrder((), FIELDS).compare(left, right)


def page_name(text: str, length: int = 1) -> PageName:
    name = parse_page(text, length)
    assert name is not None
    return name


def cut_by_id(items: list[str], page: str, count: int) -> Page[str]:
    return cut(items, [(item,) for item in items], page_name(page), count, by_id)


def walk(items: list[str], count: int, *, relation: str = "next", page: str = "") -> list[list[str]]:
    """The items of each page from the named one on, along the links of a relation."""
    pages = []
    while True:
        current = cut_by_id(items, page, count)
        pages.append(list(current.items))
        if relation not in current.links:
            return pages
        page = current.links[relation]


def test_pages_partition_the_items_in_both_directions() -> None:
    assert walk(ITEMS, 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert walk(ITEMS, 2, relation="previous", page="last") == [["e"], ["c", "d"], ["a", "b"]]


@given(_ITEMS, _KEYS, st.integers(1, 7))
def test_the_union_of_the_pages_is_the_whole_set_in_order(
    drawn: list[Item], keys: tuple[SortKey, ...], count: int
) -> None:
    order = SearchOrder(keys, FIELDS)
    items, positions = order.sorted(drawn)
    assert sorted(item[0] for item in items) == sorted(item[0] for item in drawn)
    seen: list[Item] = []
    name: str | None = ""
    while name is not None:
        page = cut(items, positions, page_name(name, order.length), count, order.compare)
        assert len(page.items) <= count
        seen += page.items
        name = page.links.get("next")
    assert seen == list(items), "each match once"
    backwards: list[Item] = []
    name = "last"
    while name is not None:
        page = cut(items, positions, page_name(name, order.length), count, order.compare)
        backwards = [*page.items, *backwards]
        name = page.links.get("previous")
    assert backwards == list(items)


@given(_ITEMS, _KEYS, st.integers(1, 3), st.data())
def test_removed_items_make_no_other_appear_twice_or_never(
    drawn: list[Item], keys: tuple[SortKey, ...], count: int, data: st.DataObject
) -> None:
    order = SearchOrder(keys, FIELDS)
    items, positions = order.sorted(drawn)
    first = cut(items, positions, page_name("", order.length), count, order.compare)
    if "next" not in first.links:
        return
    removed = data.draw(st.sets(st.sampled_from([item[0] for item in items])))
    left, left_positions = order.sorted(item for item in drawn if item[0] not in removed)
    name = page_name(first.links["next"], order.length)
    following = cut(left, left_positions, name, len(drawn), order.compare)
    assert list(following.items) == [item for item in items[count:] if item[0] not in removed]


def test_keys_apply_in_turn_and_missing_values_come_last() -> None:
    drawn: list[Item] = [
        ("1", ("Bär",), "2024-02"),
        ("2", ("bar",), "2023"),
        ("3", (), None),
        ("4", ("zoo", "Anna"), "2024-02-03"),
        ("5", ("BAR",), "2024"),
    ]
    for keys, expected in (
        ((), "12345"),
        ((SortKey("name"), SortKey("date")), "42513"),
        ((SortKey("name", is_descending=True), SortKey("_id", is_descending=True)), "45213"),
        ((SortKey("date"),), "25143"),
        ((SortKey("date", is_descending=True),), "51423"),
    ):
        items, _ = SearchOrder(keys, FIELDS).sorted(drawn)
        assert "".join(item[0] for item in items) == expected, keys


def test_an_item_added_or_removed_before_the_page_shifts_no_other() -> None:
    page = cut_by_id(ITEMS, "", 2).links["next"]
    assert list(cut_by_id(ITEMS[1:], page, 2).items) == ["c", "d"]
    assert list(cut_by_id(["0", *ITEMS], page, 2).items) == ["c", "d"]


def test_an_empty_search_has_one_empty_page() -> None:
    page = cut_by_id([], "", 10)
    assert (list(page.items), dict(page.links)) == ([], {"first": "", "last": "last"})


def encoded(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("", True),
        ("last", True),
        (f"after.{encoded([None, 'a'])}", True),
        (f"before.{encoded(['x', 'ä'])}", True),
        (f"after.{encoded(['a'])}", False),
        (f"after.{encoded(['a', None])}", False),
        (f"after.{encoded([1, 'a'])}", False),
        (f"after.{encoded({'a': 'b'})}", False),
        (f"after.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}", False),
        ("after.", False),
        ("after.ä", False),
        ("after._", False),
        (f"first.{encoded(['x', 'a'])}", False),
        ("2", False),
    ],
)
def test_only_names_of_pages_are_accepted(name: str, is_valid: bool) -> None:
    assert (parse_page(name, 2) is not None) is is_valid
