"""Stream entry ids are parsed, compared and formatted as Redis does."""

import pytest

from broker.store.stream_id import StreamId, after, event_number, of_event


def test_ids_compare_by_number_and_not_as_text() -> None:
    ids = ["1700000000000-0", "10-11", "9-9", "10-2"]
    assert sorted(ids, key=StreamId.parse) == ["9-9", "10-2", "10-11", "1700000000000-0"]


@pytest.mark.parametrize("text", ["1700000000000-3", b"1700000000000-3"])
def test_an_id_is_read_from_text_and_from_bytes(text: str | bytes) -> None:
    assert StreamId.parse(text) == (1_700_000_000_000, 3)
    assert str(StreamId.parse(text)) == "1700000000000-3"


def test_an_id_without_a_sequence_is_the_first_of_its_millisecond() -> None:
    assert StreamId.parse("7") == (7, 0)


@pytest.mark.parametrize("text", ["", "-", "+", "a-1", "1-b"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        StreamId.parse(text)


def test_an_outbox_entry_id_is_the_event_number() -> None:
    assert event_number(of_event(12).encode()) == 12


def test_a_range_can_start_behind_an_entry() -> None:
    assert after(b"5-1") == "(5-1"
