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
