"""SFLOAT and FLOAT: examples of the standard, special values, and what is encoded is decoded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.decoders.ieee_11073 import float32, sfloat

_SPECIAL = {"NaN": -1, "NRes": 0, "+INF": -2, "-INF": 2}
"""Each by its distance from the smallest mantissa."""


def encoded(mantissa: int, exponent: int, mantissa_bits: int, exponent_bits: int) -> int:
    return (mantissa & ((1 << mantissa_bits) - 1)) | (exponent & ((1 << exponent_bits) - 1)) << mantissa_bits


@pytest.mark.parametrize(
    ("bits", "text"),
    [(0x0072, "114"), (0xF2D0, "72.0"), (0x0FFF, "-1"), (0xE72D, "18.37"), (0x1001, "1E+1"), (0x0000, "0")],
)
def test_numbers_keep_the_digits_of_the_device(bits: int, text: str) -> None:
    assert str(sfloat(bits)) == text


@pytest.mark.parametrize("bits", [0xFF00016C, 0xFE000E38])
def test_a_temperature_of_thirty_six_point_four(bits: int) -> None:
    assert float32(bits) == Decimal("36.4")


@pytest.mark.parametrize(("name", "distance"), _SPECIAL.items())
def test_special_values_are_words(name: str, distance: int) -> None:
    assert sfloat(0x800 + distance) == name
    assert float32(0x800000 + distance) == name


def test_the_reserved_value_is_no_number() -> None:
    assert (sfloat(0x801), float32(0x800001)) == ("NRes", "NRes")


@given(st.integers(-2045, 2045), st.integers(-8, 7))
def test_what_is_encoded_as_sfloat_is_decoded(mantissa: int, exponent: int) -> None:
    number = sfloat(encoded(mantissa, exponent, 12, 4))
    assert isinstance(number, Decimal)
    assert number.as_tuple() == Decimal(mantissa).scaleb(exponent).as_tuple()


@given(st.integers(-(2**23) + 3, 2**23 - 3), st.integers(-128, 127))
def test_what_is_encoded_as_float_is_decoded(mantissa: int, exponent: int) -> None:
    number = float32(encoded(mantissa, exponent, 24, 8))
    assert isinstance(number, Decimal)
    assert number.as_tuple() == Decimal(mantissa).scaleb(exponent).as_tuple()
