"""The 16-bit SFLOAT and 32-bit FLOAT of IEEE 11073-20601, as Bluetooth devices send them.

A number is a signed mantissa and a signed exponent of ten, so it has the digits that the device gave it:
mantissa 720 and exponent -1 are 72.0. Five mantissas with the exponent 0 are no numbers; the one that the
standard reserves reads as NRes.
"""

from decimal import Decimal

NAN, NRES, PLUS_INFINITY, MINUS_INFINITY = "NaN", "NRes", "+INF", "-INF"
"""What stands for a number that the device could not give. V-27 says which data-absent-reason each is."""
Number = Decimal | str


def _specials(mantissa_bits: int) -> dict[int, str]:
    most = (1 << (mantissa_bits - 1)) - 1
    return {
        most - 1: PLUS_INFINITY,
        most: NAN,
        most + 1: NRES,
        most + 2: NRES,  # reserved
        most + 3: MINUS_INFINITY,
    }


_SFLOAT_SPECIALS, _FLOAT_SPECIALS = _specials(12), _specials(24)


def sfloat(bits: int) -> Number:
    """The number of 16 bits, or one of the strings above."""
    return _SFLOAT_SPECIALS.get(bits) or _number(bits, 12, 4)


def float32(bits: int) -> Number:
    """The number of 32 bits, or one of the strings above."""
    return _FLOAT_SPECIALS.get(bits) or _number(bits, 24, 8)


def _number(bits: int, mantissa_bits: int, exponent_bits: int) -> Decimal:
    mantissa = _signed(bits & ((1 << mantissa_bits) - 1), mantissa_bits)
    return Decimal(mantissa).scaleb(_signed(bits >> mantissa_bits, exponent_bits))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
