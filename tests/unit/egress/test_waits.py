"""Parsing of the Retry-After header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.egress.waits import LONGEST_S, retry_after_s

NOON_MS = 1_767_268_800_000
NOON = "Thu, 01 Jan 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 50, float(LONGEST_S)),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:01:30 -0000", 90.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_S),
    ],
)
def test_seconds_and_http_dates_are_parsed(value: str, seconds: float) -> None:
    assert retry_after_s(value, None, NOON_MS) == seconds


def test_an_http_date_counts_from_the_date_of_the_response() -> None:
    hours_off = NOON_MS + 7_200_000
    assert retry_after_s("Thu, 01 Jan 2026 12:00:30 GMT", NOON, hours_off) == 30.0


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "1e9", "٣", "Thu, 99 Jan 2026 12:00:00 GMT"]
)
def test_a_value_that_cannot_be_parsed_counts_as_absent(value: str | None) -> None:
    assert retry_after_s(value, None, NOON_MS) is None


@given(st.text(), st.none() | st.text())
def test_any_text_gives_none_or_a_wait_within_bounds(value: str, date: str | None) -> None:
    wait_s = retry_after_s(value, date, NOON_MS)
    assert wait_s is None or 0 <= wait_s <= LONGEST_S
