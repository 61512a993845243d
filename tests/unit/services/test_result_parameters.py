"""The parameters that shape a result: what each value means, what is refused, and what is left out with a
warning.
"""

import pytest

from broker.errors import Malformed
from broker.services.result_parameters import (
    DEFAULT_COUNT,
    MAX_COUNT,
    ResultParameters,
    SortKey,
    parse_result_parameters,
    parse_view,
)

ELEMENTS = frozenset({"status", "url", "text"})
Pairs = list[tuple[str, str]]


def parse(*parameters: tuple[str, str], is_strict: bool = False) -> ResultParameters:
    return parse_result_parameters(
        parameters, sortable={"_id", "date", "name"}, elements=ELEMENTS, is_strict=is_strict
    )


def test_without_parameters_the_first_page_has_whole_resources_and_a_total() -> None:
    shape = parse(("status", "off"))
    assert (shape.count, shape.page, shape.sort, shape.view.is_whole, shape.has_total) == (
        DEFAULT_COUNT,
        "",
        (),
        True,
        True,
    )
    assert (shape.honoured, shape.ignored) == ([], ())


def test_sort_keys_of_all_repetitions_apply_in_turn() -> None:
    shape = parse(("_sort", "-date, name"), ("_sort", "_id,date"))
    assert shape.sort == (SortKey("date", is_descending=True), SortKey("name"), SortKey("_id"))
    assert shape.honoured == [("_sort", "-date,name,_id")]


@pytest.mark.parametrize(
    ("sent", "honoured"),
    [
        ([("_sort", "colour,name")], [("_sort", "name")]),
        ([("_sort", "-")], []),
        ([("_count", "")], []),
        ([("_summary", " ")], []),
        ([("_format", "")], []),
    ],
)
def test_what_is_not_supported_is_left_out_with_a_warning_or_refused(sent: Pairs, honoured: Pairs) -> None:
    shape = parse(*sent)
    assert shape.honoured == honoured
    assert [(issue.severity, issue.expression) for issue in shape.ignored] == [("warning", sent[0][0])]
    with pytest.raises(Malformed):
        parse(*sent, is_strict=True)


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        [("_count", "-1")],
        [("_count", "x")],
        [("_count", "\u0662")],
        [("_count", "1"), ("_count", "2")],
        [("_summary", "all")],
        [("_summary", "true"), ("_summary", "text")],
        [("_total", "maybe")],
        [("_elements", "colour")],
        [("_elements", "status"), ("_summary", "true")],
        [("_sort:desc", "name")],
        [("_count:exact", "1")],
    ],
)
def test_wrong_values_and_modifiers_are_refused_with_the_parameter(
    parameters: Pairs, is_strict: bool
) -> None:
    with pytest.raises(Malformed) as refused:
        parse(*parameters, is_strict=is_strict)
    assert refused.value.issues[0].expression == parameters[0][0]


def test_links_repeat_what_was_applied() -> None:
    sent = [
        ("_pretty", "true"),
        ("_count", "99999"),
        ("_format", "json"),
        ("_format", "json"),
        ("_page", "last"),
    ]
    shape = parse(*sent, ("_elements", "url,status"), ("_total", "none"))
    assert shape.count == MAX_COUNT
    assert dict(shape.honoured) == {
        "_count": str(MAX_COUNT),
        "_elements": "url,status",
        "_format": "json",
        "_pretty": "true",
        "_total": "none",
    }


@pytest.mark.parametrize("parameters", [[("_count", "0")], [("_summary", "count")], [("_count", "00")]])
def test_a_count_has_a_total_and_no_matches(parameters: Pairs) -> None:
    shape = parse(*parameters, ("_total", "none"))
    assert (shape.count, shape.has_total) == (0, True)


def test_a_read_has_a_view_but_no_count() -> None:
    assert parse_view([("_summary", "text")], ELEMENTS, is_strict=False).summary == "text"
    assert parse_view([("_elements", "url")], ELEMENTS, is_strict=False).elements == {"url"}
    assert parse_view([("_elements", "any")], (), is_strict=False).elements == {"any"}, "an unlisted type"
    with pytest.raises(Malformed, match="_summary=count"):
        parse_view([("_summary", "count")], ELEMENTS, is_strict=False)
