"""CSV with a header: a payload for each line, and what is no CSV."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.decoders.csv_lines import decode_line, split_lines
from broker.mapping.decoders.undecodable import Undecodable


def test_each_line_is_a_payload_with_the_names_of_the_header() -> None:
    body = b'device, hr ,note\r\nd1,72,\r\n\r\nd2,"7""3","a,\r\nb"\n'
    payloads = [decode_line(content) for content in split_lines(body)]
    assert payloads == [{"device": "d1", "hr": "72"}, {"device": "d2", "hr": '7"3', "note": "a,\r\nb"}]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(separator: str) -> None:
    (content,) = split_lines(f"device{separator}hr\nd1{separator}72".encode())
    assert decode_line(content) == {"device": "d1", "hr": "72"}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"a,b\n1", "line 2"),
        (b"a,b\n1,2,3", "line 2"),
        (b"a,a\n1,2", "line 1"),
        (b"a,\n1,2", "line 1"),
        (b"a,b\n1,\xff", "line 1"),
        (b'a,b\n1,"2"3', "line 2"),
    ],
)
def test_a_line_that_does_not_fit_is_refused(content: bytes, place: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode_line(content)
    assert refused.value.place == place


@pytest.mark.parametrize("body", [b"", b"\n\n", b"a,b", b"a,b\n  \n"])
def test_a_document_without_a_line_behind_its_header_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        split_lines(body)


_values = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip)


@given(st.lists(st.lists(_values, min_size=3, max_size=3), min_size=1, max_size=5))
def test_what_a_writer_writes_is_read(rows: list[list[str]]) -> None:
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerows([["a", "b", "c"], *rows])
    payloads = [decode_line(content) for content in split_lines(output.getvalue().encode())]
    expected = [{name: value for name, value in zip("abc", row, strict=True) if value} for row in rows]
    assert payloads == expected


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        contents = split_lines(body)
    except Undecodable:
        return
    for content in contents:
        try:
            values = list(decode_line(content).values())
        except Undecodable:
            continue
        assert all(isinstance(value, str) for value in values)
