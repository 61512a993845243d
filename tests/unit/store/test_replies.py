"""RESP2 replies become the values that store modules work with."""

from broker.store.replies import entries_of, flatten, mapping_of, rows_of


def test_a_flat_list_becomes_a_mapping_and_back() -> None:
    assert mapping_of([b"a", b"1", b"b", b"2"]) == {b"a": b"1", b"b": b"2"}
    assert mapping_of(None) == {}
    assert flatten({"a": 1, b"b": b"2"}) == ["a", 1, b"b", b"2"]


def test_entries_have_their_id_and_their_fields() -> None:
    assert entries_of([[b"1-0", [b"t", b"x"]]]) == [(b"1-0", {b"t": b"x"})]


def test_an_entry_that_was_deleted_has_no_fields() -> None:
    assert rows_of([[b"s", [[b"1-0", None]]]]) == [(b"s", [(b"1-0", {})])]


def test_no_stream_has_entries() -> None:
    assert rows_of(None) == []
