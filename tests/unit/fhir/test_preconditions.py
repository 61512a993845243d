"""If-Match and If-None-Match: what their ETags require of a version."""

import pytest

from broker.errors import Malformed
from broker.fhir.preconditions import version_condition


@pytest.mark.parametrize(
    ("if_match", "version", "is_met"),
    [
        ('W/"3"', 3, True),
        ('"3"', 3, True),
        ("3", 3, True),
        ('W/"2", W/"3"', 3, True),
        ('"2","3"', 2, True),
        ("*", 3, True),
        (" * ", 1, True),
        ("*", None, False),
        ('W/"3"', None, False),
        ('W/"4"', 3, False),
        ('W/"33"', 3, False),
        ('W/"abc", "d,e"', 3, False),
        ('""', 3, False),
    ],
)
def test_if_match_requires_one_of_the_versions(if_match: str, version: int | None, is_met: bool) -> None:
    condition = version_condition(if_match, None)
    assert condition.is_met_by(version) is is_met
    negated = version_condition(None, if_match)
    assert negated.is_met_by(version) is not is_met


def test_both_headers_count() -> None:
    condition = version_condition('"1", "2"', '"2"')
    assert [condition.is_met_by(version) for version in (None, 1, 2, 3)] == [False, True, False, False]
    assert version_condition(None, None).is_met_by(None)
    assert version_condition(None, None).is_met_by(1)


@pytest.mark.parametrize(
    "text", ["", " ", "x", '"', '"3', 'W/"', "w/3x", '*, "3"', '"3";"4"', '"a b"', '"3" "4"', "3,"]
)
def test_malformed_etags_are_refused_with_the_header(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        version_condition(text, None)
    assert "If-Match" in caught.value.issues[0].text
    with pytest.raises(Malformed) as caught:
        version_condition(None, text)
    assert "If-None-Match" in caught.value.issues[0].text


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "version", "says"),
    [
        (None, "*", 3, "exists at version 3"),
        ("*", None, 0, "does not exist"),
        ('"3"', None, 0, "does not exist"),
        ('"3"', None, 3, "does not exist"),  # version 3 is a deletion
        ('"1"', None, 3, "is at version 3, not 1"),
        ('"1", "2"', None, 3, "is at version 3, not 1 or 2"),
    ],
)
def test_a_failure_says_what_is_there(
    if_match: str | None, if_none_match: str | None, version: int, says: str
) -> None:
    assert says in version_condition(if_match, if_none_match).failure("Patient/p", version)
