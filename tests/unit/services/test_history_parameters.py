"""Parameters of a history: moments to the millisecond, and what is refused."""

import pytest

from broker.errors import Malformed
from broker.services.history_parameters import Span, parse_history_parameters

AT = 1_767_323_045_678
"""2026-01-02T03:04:05.678Z"""


@pytest.mark.parametrize(
    ("text", "since_ms"),
    [
        ("2026-01-02T03:04:05.678Z", AT),
        ("2026-01-02T04:04:05.678 01:00", AT),
        ("2026-01-02T03:04:05.6781Z", AT + 1),
        ("2026-01-02T03:04:05Z", AT - 678),
        ("2026-01-02", AT - AT % 86_400_000),
        ("0001-01-01", 0),
    ],
)
def test_since_is_the_first_millisecond_that_is_not_before(text: str, since_ms: int) -> None:
    assert parse_history_parameters([("_since", text)], ()).since_ms == since_ms


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2026-01-02T03:04:05.678Z", Span(AT, AT)),
        ("2026-01-02T03:04:05Z", Span(AT - 678, AT - 678 + 999)),
        ("2026-01-02", Span(AT - AT % 86_400_000, AT - AT % 86_400_000 + 86_399_999)),
    ],
)
def test_at_is_the_span_of_its_precision(text: str, span: Span) -> None:
    assert parse_history_parameters([("_at", text)], ()).at == span


def test_links_repeat_what_was_applied() -> None:
    asked = parse_history_parameters([("_since", "2026"), ("_count", "5000"), ("_page", "x")], ())
    assert (asked.count, asked.page) == (1_000, "x")
    assert asked.honoured == [("_since", "2026"), ("_count", "1000")]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([("_since", "noon")], "_since"),
        ([("_since", "2026"), ("_since", "2026")], "_since"),
        ([("_at", "2026"), ("_since", "2026")], "_since"),
        ([("_list", "1")], "_list"),
        ([("_count", "0")], "_count"),
        ([("_summary", "count")], "_count"),
    ],
)
def test_what_cannot_be_applied_is_refused(parameters: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(Malformed) as raised:
        parse_history_parameters(parameters, ())
    assert raised.value.issues[0].expression == name
