"""Parses JSON payloads of devices: numbers keep their digits, and size and depth are bounded."""

import json
from decimal import Decimal
from typing import Any

import msgspec

MAX_PAYLOAD_BYTES = 1_048_576
MAX_DEPTH = 64
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class PayloadError(ValueError):
    """A payload cannot be read. The text names the place, never a value."""


def parse_payload(content: bytes) -> object:
    """The value of a JSON text, with `Decimal` for numbers that have a fraction or exponent.

    The tokens NaN, Infinity and -Infinity, which some devices write though JSON has none, become strings.
    Raises `PayloadError`.
    """
    if len(content) > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"the payload is larger than {MAX_PAYLOAD_BYTES} bytes")
    try:
        value: object = json.loads(
            content.decode("utf-8-sig"),
            parse_float=Decimal,
            parse_constant=str,
            object_pairs_hook=_members,
        )
    except UnicodeDecodeError:
        raise PayloadError("the payload is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise PayloadError(f"the payload is not JSON: line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise PayloadError(f"the payload is nested deeper than {MAX_DEPTH} levels") from None
    except PayloadError:
        raise
    except (ValueError, ArithmeticError):  # a number of thousands of digits
        raise PayloadError("the payload has a number that is too large") from None
    if is_too_deep(value):
        raise PayloadError(f"the payload is nested deeper than {MAX_DEPTH} levels")
    return value


def is_too_deep(value: object) -> bool:
    """Whether objects and arrays are nested deeper than `MAX_DEPTH`."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for each in level
            if isinstance(each, dict | list)
            for member in (each.values() if isinstance(each, dict) else each)
            if isinstance(member, dict | list)
        ]
        if not level:
            return False
    return True


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise PayloadError("an object of the payload has a member twice")
    return members


def encode_json(value: object, *, indent: int = 0) -> str:
    """JSON text in which a `Decimal` is a number with all its digits."""
    text = _ENCODER.encode(value)
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()
