"""Reads the body of a request within its bounds."""

import zlib

from starlette.types import Receive

from broker.errors import Issue, Malformed, TooLarge, UnsupportedMedia
from broker.model.whole_number import whole_number

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(receive: Receive, content_length: str, content_encoding: str, max_bytes: int) -> bytes:
    """The whole body, unpacked and without a byte order mark.

    Raises `TooLarge` as soon as it is known to exceed `max_bytes`, packed or unpacked; `Malformed` if it is
    cut off; `UnsupportedMedia` for an encoding other than gzip. A header is '' where it is missing.
    """
    coding = content_encoding.strip().lower()
    if coding not in {"", "identity", "gzip", "x-gzip"}:
        text = f"The Content-Encoding {content_encoding!r} is not supported. Send the body plain or as gzip."
        raise UnsupportedMedia(Issue("not-supported", text))
    packed = await _read(receive, content_length, max_bytes)
    body = _unpack(packed, max_bytes) if coding.endswith("gzip") else packed
    return body.removeprefix(_BYTE_ORDER_MARK)  # RFC 8259, 8.1: a reader may ignore it


async def _read(receive: Receive, content_length: str, max_bytes: int) -> bytes:
    announced = whole_number(content_length)
    if announced is not None and announced > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            text = "The connection ended before the body did. Retry the request."
            raise Malformed(Issue("incomplete", text))
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        has_more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _unpack(packed: bytes, max_bytes: int) -> bytes:
    """The content of a gzip body; never unpacks more than `max_bytes` and a byte."""
    unpacking = zlib.decompressobj(_GZIP)
    try:
        body = unpacking.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise Malformed(Issue("structure", "The body is not valid gzip. Send it again.")) from error
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacking.eof or unpacking.unused_data:
        raise Malformed(Issue("incomplete", "The body is not one whole gzip stream. Send it again."))
    return body


def _too_large(max_bytes: int) -> TooLarge:
    text = f"The body is larger than {max_bytes} bytes (BROKER_MAX_BODY). Send less at once."
    return TooLarge(Issue("too-long", text))
