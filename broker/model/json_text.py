"""Takes JSON text apart and puts it together without reading its values: they keep their spelling.

`decode_object` checks a text from outside: UTF-8, one object, bounded depth, finite numbers. The other
functions take parts of a checked text. `Resource` and the Bundle readers and writers in `fhir/` call them.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec

from broker.errors import Issue, Malformed

MAX_DEPTH = 64
"""How deep objects and arrays may nest.

No resource type needs half of it, and every reader of the text can follow it.
"""

STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
"""A regular expression for a JSON string in valid JSON."""

_BRACKETS = re.compile(STRING + rb"|[\[\]{}]")
_MAX_EXPONENT = 308
_encode = msgspec.json.Encoder(decimal_format="number").encode


def _exact(text: str) -> Decimal:
    """A number with a fraction or an exponent. Raises `ValueError` beyond the range of a double."""
    number = Decimal(text)
    if number.adjusted() > _MAX_EXPONENT:
        raise ValueError("a number is out of range")
    return number


_OBJECT = msgspec.json.Decoder(dict[str, Any], float_hook=_exact)
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def decode_object(text: bytes) -> dict[str, Any]:
    """The object as plain values, decimals exact. Of a repeated name the last member counts.

    Raises `Malformed` for a text that is not UTF-8, not JSON, not an object or nested too deep.
    """
    try:
        values = _OBJECT.decode(text)
    except RecursionError:
        raise Malformed(_too_deep()) from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, InvalidOperation) as error:
        if text.lstrip()[:1] not in {b"{", b""} and _is_json(text):
            raise Malformed(
                Issue("structure", "the body is JSON but not an object, so not a FHIR resource")
            ) from None
        raise Malformed(Issue("structure", f"the body is not valid JSON in UTF-8: {error}")) from None
    _check_depth(text)
    return values


def encode(value: Any) -> bytes:
    """The JSON text of a value; decimals keep their digits."""
    return _encode(value)


def decode_exact(text: bytes) -> Any:
    """The plain values of a checked text, which belong to the caller; each number is its spelling, a
    `msgspec.Raw`. `encode` is the inverse.
    """
    return json.loads(text, parse_float=_raw_number, parse_int=_raw_number)


def _raw_number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def members(text: bytes) -> dict[str, bytes]:
    """The members of a checked object as they are spelled, in their order."""
    return {name: bytes(value) for name, value in _RAW_MEMBERS.decode(text).items()}


def items(text: bytes) -> list[bytes]:
    """The items of a checked array as they are spelled."""
    return [bytes(raw) for raw in _RAW_ITEMS.decode(text)]


def join(parts: Mapping[str, bytes]) -> bytes:
    """The object of the given members: the inverse of `members`."""
    return b"{" + b"".join([label(name) + value for name, value in parts.items()])[1:] + b"}"


@lru_cache(maxsize=1024)
def label(name: str) -> bytes:
    """The text of a member's name, with the comma before it and the colon after it."""
    return b"," + _encode(name) + b":"


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _check_depth(text: bytes) -> None:
    """Raises `Malformed` for a text deeper than `MAX_DEPTH`.

    The text is valid JSON, so each string ends: one pass suffices.
    """
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(text):
        token = match[0]
        if token in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(_too_deep())
        elif token in b"}]":
            depth -= 1


def _too_deep() -> Issue:
    return Issue("structure", f"the body nests deeper than {MAX_DEPTH} objects and arrays")
