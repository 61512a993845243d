"""Bounds on the size of a request."""

from starlette.types import Receive

from broker.errors import Issue, Malformed, TooLarge
from broker.model.whole_number import whole_number


async def read_body(receive: Receive, content_length: str, max_bytes: int) -> bytes:
    """The whole body; raises `TooLarge` as soon as it is known to exceed `max_bytes`, `Malformed` if it is
    cut off.

    `content_length` is the header, '' without one.
    """
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


def _too_large(max_bytes: int) -> TooLarge:
    text = f"The body is larger than {max_bytes} bytes (BROKER_MAX_BODY). Send less at once."
    return TooLarge(Issue("too-long", text))
