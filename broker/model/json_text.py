"""Takes JSON text apart and puts it together without reading its values: they keep their spelling.

`decode_received` checks a text from outside: UTF-8, one object, bounded depth and numbers, no name twice in
an object. `decode_object` reads a text again. The other functions take parts of a checked text. `Resource`
and the Bundle readers and writers in `fhir/` call them.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec

from broker.errors import Issue, Malformed, TooDeep

MAX_DEPTH = 64
"""How deep objects and arrays may nest.

No resource type needs half of it, and every reader of the text can follow it.
"""

STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
"""A regular expression for a JSON string in valid JSON."""

LARGE_BYTES = 262_144
"""Texts from this size on are decoded in pieces, and by threads where a request or a worker waits for it."""
_PIECE_BYTES = 65_536
"""The decoder keeps the interpreter's lock for a piece: about a millisecond."""
_MAX_DIVIDED_DEPTH = 12
"""Pieces are divided down to this depth. Each division reads the whole piece again: without a bound, a large
text at the end of deep nesting would be read once a level. Below it, a piece is decoded at once.
"""

_BRACKETS = re.compile(STRING + rb"|[\[\]{}]")
_MAX_EXPONENT = 4_000
"""FHIR does not bound it. A number beyond it would have as many digits where no exponent is written."""
_MAX_REPEATED = 20
_encode = msgspec.json.Encoder(decimal_format="number").encode


def _exact(text: str) -> Decimal:
    """A number with a fraction or an exponent. Raises `ValueError` for an exponent that is out of bounds."""
    number = Decimal(text)
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("a number is out of range")
    return number


_OBJECT = msgspec.json.Decoder(dict[str, Any], float_hook=_exact)
_ANY = msgspec.json.Decoder(Any, float_hook=_exact)
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, ValueError, InvalidOperation)
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def decode_received(text: bytes) -> dict[str, Any]:
    """What `decode_object` gives; also raises `Malformed` for names that occur twice in one object
    (json.html#json), with the element of each.

    Of a repeated name, readers take the first or the last member: each would see another resource.
    """
    values = decode_object(text)
    # a decoded object has each name once, so it has fewer colons than the text if one is repeated; an escape
    # in the text may stand for a colon
    if text.count(b":") != _encode(values).count(b":") or b"\\u00" in text:
        root = values.get("resourceType")
        repeated = _repeated_names(text, root if isinstance(root, str) else "Resource")
        if repeated:
            raise Malformed(
                *(
                    Issue("structure", f"{path} is there twice: names in an object are unique", path)
                    for path in repeated[:_MAX_REPEATED]
                )
            )
    return values


def decode_object(text: bytes) -> dict[str, Any]:
    """The object as plain values, decimals exact. Of a repeated name the last member counts.

    Raises `Malformed` for a text that is not UTF-8, not JSON, not an object or nested too deep.
    """
    try:
        if len(text) >= LARGE_BYTES:
            with contextlib.suppress(*_DECODE_ERRORS):  # raised again below, with the place in the whole text
                return decode_in_pieces(text)
        values = _OBJECT.decode(text)
    except RecursionError:
        raise TooDeep(_too_deep()) from None
    except _DECODE_ERRORS as error:
        if text.lstrip()[:1] not in {b"{", b""} and _is_json(text):
            raise Malformed(
                Issue("structure", "the body is JSON but not an object, so not a FHIR resource")
            ) from None
        raise Malformed(Issue("structure", f"the body is not valid JSON in UTF-8: {error}")) from None
    _check_depth(text, 0)
    return values


def decode_in_pieces(text: bytes) -> dict[str, Any]:
    """What one call of the decoder gives, by calls for pieces of the text, between which other threads run.

    Raises what the decoder raises for a text that is not a JSON object in UTF-8, and `Malformed` for one that
    nests too deep.
    """
    return {name: _decode_piece(raw, 1) for name, raw in _RAW_MEMBERS.decode(text).items()}


def _decode_piece(raw: msgspec.Raw, depth: int) -> Any:
    """The value, which is in `depth` objects and arrays. Only large objects and arrays are divided."""
    piece = bytes(raw)
    if len(piece) >= _PIECE_BYTES and depth < _MAX_DIVIDED_DEPTH:
        if piece.startswith(b"{"):
            return {name: _decode_piece(value, depth + 1) for name, value in _RAW_MEMBERS.decode(raw).items()}
        if piece.startswith(b"["):
            return [_decode_piece(value, depth + 1) for value in _RAW_ITEMS.decode(raw)]
    if piece.startswith((b"{", b"[")):
        _check_depth(
            piece, depth
        )  # first: a text that nests too deep ends early here, and not in the decoder
    return _ANY.decode(raw)


def decode_value(text: bytes) -> Any:
    """The value of a part of a checked text, decimals exact."""
    return _ANY.decode(text)


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


def indented(text: bytes) -> bytes:
    """The JSON text for people, with a line for each member; values keep their spelling."""
    return msgspec.json.format(text, indent=2) if text else text


def for_people(text: bytes) -> str:
    """A text that may be JSON: then it is indented; another stays as it is."""
    if text.lstrip()[:1] in {b"{", b"["}:
        with contextlib.suppress(*_DECODE_ERRORS):
            return indented(text).decode()
    return text.decode(errors="replace")


@lru_cache(maxsize=1024)
def label(name: str) -> bytes:
    """The text of a member's name, with the comma before it and the colon after it."""
    return b"," + _encode(name) + b":"


class _Members(list[tuple[str, Any]]):
    """The members of an object, repeated names included."""


def _repeated_names(text: bytes, root: str) -> list[str]:
    """The paths of the members whose name occurs again in the same object."""
    tree = json.loads(text, object_pairs_hook=_Members, parse_int=str, parse_float=str)
    repeated: list[str] = []
    pending = [(root, tree)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, _Members):
            names = Counter(name for name, _ in value)
            repeated += [f"{path}.{name}" for name, times in names.items() if times > 1]
            pending += [(f"{path}.{name}", child) for name, child in value]
        elif isinstance(value, list):
            pending += [(f"{path}[{n}]", child) for n, child in enumerate(value)]
    return sorted(set(repeated))


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _check_depth(text: bytes, depth: int) -> None:
    """Raises `Malformed` for a text that is in `depth` objects and arrays and nests deeper than `MAX_DEPTH`.

    The text is valid JSON, so each string ends: one pass suffices.
    """
    if depth + text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return
    for match in _BRACKETS.finditer(text):
        token = match[0]
        if token in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise TooDeep(_too_deep())
        elif token in b"}]":
            depth -= 1


def _too_deep() -> Issue:
    text = f"the body nests deeper than {MAX_DEPTH} objects and arrays, the limit of the broker"
    return Issue("structure", text)
