"""Pages by position partition any set in the order asked for, whatever is added or removed meanwhile."""

import base64
import json
from functools import cmp_to_key

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.search import ParameterType
from broker.services.paging import Page, PageName, PageSelector, parse_page
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


def in_order(drawn: list[Item], order: SearchOrder[Item]) -> list[Item]:
    key = cmp_to_key(order.compare)
    return sorted(drawn, key=lambda item: key(order.position(item)))


def select(drawn: list[Item], order: SearchOrder[Item], page: str, count: int) -> Page[Item]:
    """The named page of the items, which come in the order they were drawn in."""
    selector = PageSelector[Item](page_name(page, order.length), count, order.compare)
    for item in drawn:
        selector.add(order.position(item), item)
    assert selector.total == len(drawn)
    return selector.page()


def page_name(text: str, length: int = 1) -> PageName:
    name = parse_page(text, length)
    assert name is not None
    return name


def cut_by_id(items: list[str], page: str, count: int) -> Page[str]:
    compare = SearchOrder((), FIELDS).compare
    selector = PageSelector[str](page_name(page), count, compare)
    for item in reversed(items):
        selector.add((item,), item)
    return selector.page()


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
    items = in_order(drawn, order)
    seen: list[Item] = []
    name: str | None = ""
    while name is not None:
        page = select(drawn, order, name, count)
        assert len(page.items) <= count
        seen += page.items
        name = page.links.get("next")
    assert seen == items, "each match once"
    backwards: list[Item] = []
    name = "last"
    while name is not None:
        page = select(drawn, order, name, count)
        backwards = [*page.items, *backwards]
        name = page.links.get("previous")
    assert backwards == items


@given(_ITEMS, _KEYS, st.integers(1, 3), st.data())
def test_removed_items_make_no_other_appear_twice_or_never(
    drawn: list[Item], keys: tuple[SortKey, ...], count: int, data: st.DataObject
) -> None:
    order = SearchOrder(keys, FIELDS)
    items = in_order(drawn, order)
    first = select(drawn, order, "", count)
    if "next" not in first.links:
        return
    removed = data.draw(st.sets(st.sampled_from([item[0] for item in items])))
    left = [item for item in drawn if item[0] not in removed]
    following = select(left, order, first.links["next"], len(drawn))
    assert list(following.items) == [item for item in items[count:] if item[0] not in removed]


def test_a_page_of_many_items_is_the_same_as_of_all_of_them_in_order() -> None:
    drawn: list[Item] = [(f"{n * 7919 % 1000:04}", (), None) for n in range(1000)]
    order: SearchOrder[Item] = SearchOrder((), FIELDS)
    items = in_order(drawn, order)
    name = ""
    seen: list[Item] = []
    while True:
        page = select(drawn, order, name, 3)
        seen += page.items
        if len(seen) > 30:
            break
        name = page.links["next"]
    assert seen == items[: len(seen)]
    assert list(select(drawn, order, "last", 3).items) == items[-1:]
    previous = select(drawn, order, "last", 3).links["previous"]
    assert list(select(drawn, order, previous, 3).items) == items[-4:-1]


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
        items = in_order(drawn, SearchOrder(keys, FIELDS))
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
