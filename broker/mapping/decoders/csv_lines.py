"""CSV with a header: each line is a payload, an object with a member for each column.

RFC 4180: comma, quotes doubled within quotes, CRLF or LF; a quoted value may contain line breaks. Semicolon
and tab separate too, where the header has no comma. All values are strings; an empty one is left out, so
that a mapping sees it as missing.
"""

import csv
import io
import re

from broker.mapping.decoders.undecodable import Undecodable

MAX_COLUMNS = 1_000
_SEPARATORS = (",", ";", "\t")
_LINE = re.compile(rb'(?:[^"\r\n]|"[^"]*"?)*')
_END = re.compile(rb"\r\n|\n|\r")


def split_lines(body: bytes) -> list[bytes]:
    """The payloads of a document, each the header and one line. Raises `Undecodable` where there is no header
    with a line behind it.
    """
    records = []
    position = 0
    while position < len(body):
        line = _LINE.match(body, position)
        end = line.end() if line else position
        if body[position:end].strip():
            records.append(body[position:end])
        ended = _END.match(body, end)
        position = ended.end() if ended else len(body)
    if len(records) < 2:
        text = "The CSV has no line behind its header. Send the names of the columns in the first line."
        raise Undecodable("line 1", text)
    return [records[0] + b"\n" + record for record in records[1:]]


def decode_line(content: bytes) -> dict[str, str]:
    """The payload object of a header and one line. Raises `Undecodable`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Undecodable("line 1", "The CSV is not UTF-8. Send UTF-8.") from None
    head = text.partition("\n")[0]
    separator = next((each for each in _SEPARATORS if each in head), ",")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        raise Undecodable(
            "line 2", "The quotes of the CSV line do not match. Double those in values."
        ) from None
    rows = [row for row in rows if row]
    if len(rows) != 2:
        raise Undecodable("line 1", f"The CSV has {len(rows)} lines. Send a header and one line.")
    header, values = [name.strip() for name in rows[0]], rows[1]
    if len(header) > MAX_COLUMNS or len(set(header)) != len(header) or "" in header:
        raise Undecodable("line 1", "The header of the CSV has empty, repeated or too many names.")
    if len(values) != len(header):
        text = f"The CSV line has {len(values)} values and its header {len(header)} names. Send as many."
        raise Undecodable("line 2", text)
    return {name: value.strip() for name, value in zip(header, values, strict=True) if value.strip()}
