"""The Prefer header in the spellings of clients."""

import pytest

from broker.api.preferences import parse_preferences


@pytest.mark.parametrize(
    ("header", "returns", "handling"),
    [
        ("", "", ""),
        ("return=minimal", "minimal", ""),
        ("return=OperationOutcome", "OperationOutcome", ""),
        ("Return=operationoutcome, Handling=Lenient", "OperationOutcome", "lenient"),
        ("respond-async; handling=strict", "", "strict"),
        ('return="representation"', "representation", ""),
        (" handling = lenient ;return = minimal", "minimal", "lenient"),
        ("return=minimal, return=representation", "minimal", ""),
        ("return=everything, handling=gentle", "", ""),
        ("xreturn=minimal", "", ""),
    ],
)
def test_what_a_header_asks_for(header: str, returns: str, handling: str) -> None:
    assert parse_preferences(header) == (returns, handling)
