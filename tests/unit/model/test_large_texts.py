"""A large text is decoded in pieces, with what one call of the decoder gives."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Malformed
from broker.model import json_text
from broker.model.json_text import LARGE_BYTES, MAX_DEPTH, decode_in_pieces, decode_object

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.decimals("-99", "99", places=2),
    st.text(max_size=5),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=3), _VALUES, max_size=5))
def test_pieces_give_what_one_call_gives(values: dict[str, Any]) -> None:
    text = msgspec.json.Encoder(decimal_format="number").encode(values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_text, "_PIECE_BYTES", 4)
        assert repr(decode_in_pieces(text)) == repr(decode_object(text))


def _large(inner: bytes) -> bytes:
    return b'{"pad":"' + b"x" * LARGE_BYTES + b'","a":' + inner + b"}"


def test_the_last_member_of_a_name_counts_and_decimals_are_exact() -> None:
    text = _large(b"[0.10," + b'{"b":1,"b":2},' * 6_000 + b"1]")
    values = decode_object(text)["a"]
    assert str(values[0]) == str(Decimal("0.10"))
    assert values[1:-1] == [{"b": 2}] * 6_000


@pytest.mark.parametrize("padding", [b"", b"0," * 40_000])
def test_the_depth_limit_of_a_large_text_is_exact(padding: bytes) -> None:
    """With and without padding in the array: the piece that is too deep is divided, or decoded at once."""
    depth = MAX_DEPTH - 1
    assert decode_object(_large(b"[" * depth + padding + b"0" + b"]" * depth))
    with pytest.raises(Malformed, match="deeper"):
        decode_object(_large(b"[" * (depth + 1) + padding + b"0" + b"]" * (depth + 1)))
    with pytest.raises(Malformed, match="deeper"):
        decode_object(_large(b"[" * 50_000 + padding + b"0" + b"]" * 50_000))


@pytest.mark.parametrize("inner", [b"[1,}", b'"\xff"', b"1e99999", b"[" + b"1," * 40_000 + b"1e99999]"])
def test_an_error_names_the_place_in_the_whole_text(inner: bytes) -> None:
    with pytest.raises(Malformed) as of_large:
        decode_object(_large(inner))
    with pytest.raises(Malformed) as of_small:
        decode_object(b'{"a":' + inner + b"}")
    large, small = (caught.value.issues[0].text for caught in (of_large, of_small))
    assert large.partition("byte")[0] == small.partition("byte")[0]


def test_a_large_text_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(Malformed, match="not an object"):
        decode_object(b"[" + b"1," * LARGE_BYTES + b"1]")


def test_a_large_value_at_the_end_of_deep_nesting_is_not_read_once_a_level() -> None:
    """What the decoder is given in all stays below a fixed number of times the text, however deep it is."""
    depth = MAX_DEPTH - 4
    for text in (
        _large(b'{"a":' * depth + b"[" + b"1," * 2 * LARGE_BYTES + b"1]" + b"}" * depth),
        b'{"a":' + b"[" * depth + b'"' + b"x" * 4 * LARGE_BYTES + b'"' + b"]" * depth + b"}",
    ):
        read = _Counted()
        with pytest.MonkeyPatch.context() as patched:
            for name in ("_ANY", "_RAW_ITEMS", "_RAW_MEMBERS"):
                patched.setattr(json_text, name, read.counting(getattr(json_text, name)))
            assert decode_object(text)
        assert read.byte_count < 20 * len(text)


def test_a_large_text_that_nests_too_deep_is_refused_before_its_values_are_decoded() -> None:
    text = _large(b"[" + b"[" * 80 + b"]" * 80 + b",1" * LARGE_BYTES + b"]")
    read = _Counted()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_text, "_ANY", read.counting(json_text._ANY))
        with pytest.raises(Malformed, match="deeper"):
            decode_object(text)
    assert read.byte_count <= LARGE_BYTES + 2  # the padding before it


class _Counted:
    """Counts the bytes that decoders are given."""

    def __init__(self) -> None:
        self.byte_count = 0

    def counting(self, decoder: msgspec.json.Decoder[Any]) -> Any:
        counted = self

        class Counting:
            def decode(self, text: bytes | msgspec.Raw) -> Any:
                counted.byte_count += len(bytes(text))
                return decoder.decode(text)

        return Counting()
