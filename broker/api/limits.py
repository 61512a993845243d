"""Bounds on what a request may cost."""

from starlette.requests import ClientDisconnect, Request

from broker.errors import Issue, Malformed, TooLarge


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body, refused as soon as it is known to be too large."""
    too_large = TooLarge(Issue("too-long", f"the body is over {max_bytes} bytes (BROKER_MAX_BODY)"))
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            chunks.append(chunk)
    except ClientDisconnect:
        raise Malformed(Issue("incomplete", "the connection ended before the body did")) from None
    return b"".join(chunks)
