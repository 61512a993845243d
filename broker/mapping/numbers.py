"""Reads numbers of payloads: exactly, with their digits, and with the special values that devices send."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

_NUMBER = re.compile(r"(<=|>=|<|>)?\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?)", re.ASCII)
_MAX_CHARS = 40
_MAX_EXPONENT = 30

SPECIAL_VALUES: Mapping[str, str] = {
    "nan": "not-a-number",
    "inf": "positive-infinity",
    "+inf": "positive-infinity",
    "infinity": "positive-infinity",
    "+infinity": "positive-infinity",
    "-inf": "negative-infinity",
    "-infinity": "negative-infinity",
    "nres": "error",
    "reserved": "error",
}
"""The special floats of IEEE 11073 in small letters, and their dataAbsentReason (V-27)."""


class Number(NamedTuple):
    """A number with the digits that the payload has. `comparator`: '' or one of < <= >= >."""

    value: Decimal
    comparator: str = ""
    is_integer: bool = False


class Absent(NamedTuple):
    """The device says that there is no value. `reason` is a dataAbsentReason."""

    reason: str


class NotANumber(ValueError):  # noqa: N818
    """The value is of another type, or a number out of any range. The text has no value."""


def read_number(value: Any, special_values: Mapping[str, str] = SPECIAL_VALUES) -> Number | Absent:
    """Reads a JSON number, or text such as `72`, `<20` or `NaN`. A decimal comma is not guessed.

    Raises `NotANumber`.
    """
    if isinstance(value, bool):
        raise NotANumber("is true or false and must be a number")
    if isinstance(value, int):
        if abs(value) >= 10**_MAX_EXPONENT:
            raise NotANumber("is a number that is too large")
        return Number(Decimal(value), is_integer=True)
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, Decimal):
        return _bounded(value, "") if value.is_finite() else read_number(str(value), special_values)
    if not isinstance(value, str):
        raise NotANumber("must be a number")
    text = value.strip()
    if reason := special_values.get(text.lower()):
        return Absent(reason)
    found = _NUMBER.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if found is None:
        raise NotANumber("is not a number")
    return _bounded(Decimal(found[2]), found[1] or "")


def _bounded(value: Decimal, comparator: str) -> Number:
    if abs(value.adjusted()) > _MAX_EXPONENT or len(value.as_tuple().digits) > _MAX_CHARS:
        raise NotANumber("is a number that is too large or has too many digits")
    return Number(value, comparator, is_integer=False)
