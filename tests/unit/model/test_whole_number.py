"""Whole numbers of clients: decimal digits that fit 64 bits, and nothing else."""

import pytest

from broker.model.whole_number import whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("999999999999999999", 999_999_999_999_999_999)],
)
def test_decimal_digits_are_read(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1\n", "1.0", "²", "١", "1" * 19, "1_000", "0x1"])
def test_anything_else_is_no_number(text: str) -> None:
    assert whole_number(text) is None
