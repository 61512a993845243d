"""Bounds on what a request may cost."""

from starlette.types import Receive

from broker.errors import Issue, Malformed, TooLarge


async def read_body(receive: Receive, declared: str, max_bytes: int) -> bytes:
    """The whole body, refused as soon as it is known to be too large. `declared` is its Content-Length, '' without one."""
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Malformed(Issue("incomplete", "the connection ended before the body did"))
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        has_more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(Issue("too-long", f"the body is over {max_bytes} bytes (BROKER_MAX_BODY)"))
