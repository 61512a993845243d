"""A compressed text is read back as it was; a damaged one is an error with its own type."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.compression import compress, decompress
from broker.testing.readings import HEART_RATE, observation


@given(st.binary(max_size=2_000))
def test_any_text_is_read_back(text: bytes) -> None:
    assert decompress(compress(text)) == text


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_a_text_that_does_not_compress_is_stored_as_it_is(size: int) -> None:
    text = os.urandom(size)
    assert compress(text) == b"-" + text


def test_a_reading_becomes_a_quarter_of_its_size() -> None:
    text = json.dumps(
        observation(HEART_RATE, "ana", "2026-03-01T08:00:00Z", 72), separators=(",", ":")
    ).encode()
    assert len(compress(text)) < len(text) / 4


@pytest.mark.parametrize("stored", [b"", b"?abc", b"1", b"1garbage", compress(b"a" * 200)[:-3]])
def test_a_damaged_text_is_a_value_error(stored: bytes) -> None:
    with pytest.raises(ValueError, match="stored resource"):
        decompress(stored)
