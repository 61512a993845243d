"""Counts and lists in messages."""

import pytest

from broker.model.wording import are, count_of, shorten_list, shorten_term

CODES = "http://loinc.org|1,http://loinc.org|2,http://loinc.org|3,urn:x|4"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (21, "21 events")]
)
def test_a_noun_agrees_with_its_count(count: int, text: str) -> None:
    assert count_of(count, "event") == text


def test_a_verb_and_an_irregular_plural_agree_with_their_count() -> None:
    assert (count_of(1, "entry", "entries"), are(1)) == ("1 entry", "is")
    assert (count_of(3, "entry", "entries"), are(3)) == ("3 entries", "are")


@pytest.mark.parametrize("text", ["", "a", "a,b,c", r"a\,b,c,d", "gt120|http://unitsofmeasure.org|/min"])
def test_a_short_list_is_whole(text: str) -> None:
    assert shorten_list(text) == text


def test_a_long_list_shows_what_was_found_in_it() -> None:
    assert shorten_list(CODES, ["urn:y|9, urn:x|4"]) == "urn:x|4 and 3 more codes"


def test_a_long_list_without_a_match_shows_its_first_two() -> None:
    assert shorten_list(CODES, ["urn:y|9"]) == "http://loinc.org|1, http://loinc.org|2 and 2 more codes"
    assert shorten_list("a,b,c,d,e") == "a, b and 3 more values"


def test_one_more_is_singular_and_none_is_not_mentioned() -> None:
    assert shorten_list("a,b,c,d", ["a", "b", "c"]) == "a, b, c and 1 more value"
    assert shorten_list("a,b,c,d", ["a", "b", "c", "d"]) == "a, b, c, d"


def test_an_escaped_comma_separates_nothing() -> None:
    assert shorten_list(r"a\,b,c,d,e") == r"a\,b, c and 2 more values"


def test_a_term_keeps_its_name_and_its_equal_signs() -> None:
    assert shorten_term("code:not=a,b,c,d") == "code:not=a, b and 2 more values"
    assert shorten_term("url=http://x?a=b") == "url=http://x?a=b"
