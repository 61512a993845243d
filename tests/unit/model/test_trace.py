"""W3C trace context: which headers are passed on, and what they name."""

import pytest

from broker.model.trace import is_sampled, parent_id, parse_traceparent, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_names_its_trace_its_span_and_whether_it_is_sampled() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    assert parse_traceparent(text) == text
    assert (trace_id(text), parent_id(text), is_sampled(text)) == (TRACE, SPAN, True)
    assert not is_sampled(f"00-{TRACE}-{SPAN}-02")


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-comes-later") == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\r\nX-Injected: 1",
        f"00-{TRACE}-{SPAN}-01\n",
        "a" * 4_000,
    ],
)
def test_a_malformed_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) == ""
    assert trace_id("") == parent_id("") == ""
    assert not is_sampled("")
