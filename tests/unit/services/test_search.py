"""Search over the broker's own resources: parsing, modifiers, and how values compare."""

from dataclasses import replace

import pytest

from broker.errors import Malformed
from broker.model.search import ParameterType
from broker.services.search import Fields, SearchField, parse_search
from broker.services.search_values import check_date, matches_value, split_values

Item = dict[str, list[str]]


def field(parameter_type: ParameterType, name: str) -> SearchField[Item]:
    return SearchField(parameter_type, lambda item: item.get(name, []))


FIELDS: Fields[Item] = {
    "code": field(ParameterType.TOKEN, "code"),
    "name": field(ParameterType.STRING, "name"),
    "url": field(ParameterType.URI, "url"),
    "date": field(ParameterType.DATE, "date"),
    "owner": field(ParameterType.REFERENCE, "owner"),
}


def passes(item: Item, *parameters: tuple[str, str]) -> bool:
    return parse_search(parameters, FIELDS).passes(item)


def test_repeated_parameters_all_apply_and_one_of_several_values_suffices() -> None:
    item = {"code": ["s|a"], "name": ["Ward"]}
    assert passes(item, ("code", "x,a"), ("name", "wa"))
    assert not passes(item, ("code", "a"), ("code", "b"))


def test_not_passes_a_candidate_without_a_value_and_missing_asks_for_that() -> None:
    assert passes({}, ("code:not", "a"))
    assert not passes({"code": ["s|a"]}, ("code:not", "a"))
    assert passes({}, ("code:missing", "true"))
    assert passes({"code": ["a"]}, ("code:missing", "false"))


@pytest.mark.parametrize(
    "unsupported", [("colour", "red"), ("colour:exact", "red"), ("code", ""), ("name", " ")]
)
def test_an_unsupported_parameter_is_refused_or_ignored_with_a_warning(unsupported: tuple[str, str]) -> None:
    code = unsupported[0].partition(":")[0]
    with pytest.raises(Malformed, match=code):
        parse_search([unsupported], FIELDS)
    search = parse_search([unsupported, ("code", "a"), ("_count", "2")], FIELDS, ignores_unsupported=True)
    assert search.used == [("code", "a")], "_count selects nothing: result_parameters.py reads it"
    assert [(issue.severity, issue.expression) for issue in search.ignored] == [("warning", code)]


def test_a_search_names_the_texts_that_the_store_has_of_every_match() -> None:
    fields: Fields[Item] = {**FIELDS, "url": replace(FIELDS["url"], is_stored=True)}
    parameters = [("url", r"http://a\,b,http://c"), ("url:below", "http://d"), ("name", "x")]
    assert parse_search(parameters, fields).stored_texts == [["http://a,b", "http://c"]]
    assert parse_search([("name", "x")], fields).stored_texts == []


def test_a_known_parameter_is_never_ignored() -> None:
    for name, value in (("code:exact", "a"), ("code", "a,"), ("date", "soon")):
        with pytest.raises(Malformed):
            parse_search([(name, value)], FIELDS, ignores_unsupported=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("code", "a,"), ("code:missing", "perhaps"), ("code:exact", "a"), ("date", "soon"), ("date", "xx2020")],
)
def test_what_cannot_be_evaluated_is_refused_with_the_parameter(name: str, value: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_search([(name, value)], FIELDS)
    assert refused.value.issues[0].expression == name


@pytest.mark.parametrize(
    ("parameter_type", "modifier", "wanted", "value", "is_met"),
    [
        (ParameterType.TOKEN, "", "a", "s|a", True),
        (ParameterType.TOKEN, "", "s|", "s|a", True),
        (ParameterType.TOKEN, "", "t|a", "s|a", False),
        (ParameterType.TOKEN, "", "t|a", "a", True),
        (ParameterType.TOKEN, "", r"a\|b", "a|b", False),
        (ParameterType.STRING, "", "arz", "Ärzte", True),
        (ParameterType.STRING, "exact", "arzte", "Ärzte", False),
        (ParameterType.STRING, "contains", "ZTE", "Ärzte", True),
        (ParameterType.URI, "", "http://x/a", "http://x/a/b", False),
        (ParameterType.URI, "below", "http://x/a", "http://x/a/b", True),
        (ParameterType.URI, "above", "http://x/a/b", "http://x/a", True),
        (ParameterType.DATE, "", "2024", "2024-03-01", True),
        (ParameterType.DATE, "", "gt2024", "2024-03-01", False),
        (ParameterType.DATE, "", "ge2024-01-01", "2024-03-01/", True),
        (ParameterType.REFERENCE, "", "o1", "Organization/o1", True),
        (ParameterType.REFERENCE, "Patient", "o1", "Organization/o1", False),
    ],
)
def test_values_compare_by_the_type_of_their_parameter(
    parameter_type: ParameterType, modifier: str, wanted: str, value: str, is_met: bool
) -> None:
    assert matches_value(parameter_type, modifier, wanted, value) is is_met


def test_a_comma_behind_a_backslash_belongs_to_its_value() -> None:
    assert split_values(r"a\,b,c") == [r"a\,b", "c"]
    assert split_values("a,") == ["a", ""]


def test_a_date_may_have_a_prefix_and_any_precision() -> None:
    assert all(check_date(text) for text in ("2024", "ge2024-03", "lt2024-03-01T08:00:00Z"))
    assert not check_date("qq2024")
