"""The URL and the headers of a request have a limit; bodies do not count towards it."""

import asyncio

import pytest

from broker.app import Running
from broker.app.request_head import MAX_HEAD_BYTES

RESET = b"reset"
READ = 262_144
"""At least what one read from a socket brings."""


async def answer_to(broker: Running, *parts: bytes) -> bytes:
    """The first 64 KiB of what the broker answers; the parts are sent one by one, as far as it takes them. A
    connection that is reset, since the broker closed it with parts unread, gives `RESET`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.settings.port)
    try:
        async with asyncio.timeout(60):
            try:
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            except ConnectionError:
                pass  # the broker refused and closed
            try:
                return await reader.read(65_536)
            except ConnectionError:
                return RESET
    finally:
        writer.close()


def with_header(size: int) -> bytes:
    return b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * size + b"\r\n\r\n"


@pytest.mark.parametrize("size", [0, 60_000])
async def test_a_head_within_the_limit_is_answered(broker: Running, size: int) -> None:
    assert (await answer_to(broker, with_header(size))).startswith(b"HTTP/1.1 200")


async def test_many_short_headers_within_the_limit_are_answered_whatever_the_reads(broker: Running) -> None:
    lines = [b"X-%d: %s\r\n" % (n, b"x" * 1_000) for n in range(50)]
    answer = await answer_to(broker, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", *lines, b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_head_above_the_limit_is_answered_with_431(broker: Running) -> None:
    assert (await answer_to(broker, with_header(MAX_HEAD_BYTES + 1))).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "head",
    [
        with_header(2 * READ),
        b"GET /" + b"x" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"X-Short: x\r\n" * 10_000 + b"\r\n",
    ],
    ids=["header", "url", "many headers"],
)
async def test_a_larger_head_is_refused(broker: Running, head: bytes) -> None:
    assert (await answer_to(broker, head)).startswith((b"HTTP/1.1 431", RESET))


async def test_a_head_that_never_ends_is_refused_while_it_is_sent(broker: Running) -> None:
    piece = b"x" * 16_384
    answer = await answer_to(broker, b"GET /livez HTTP/1.1\r\nX-Long: ", *[piece] * 200)
    assert answer.startswith((b"HTTP/1.1 431", RESET))


async def test_a_large_body_does_not_count(broker: Running) -> None:
    body = b'{"resourceType":"Basic","code":{"text":"' + b"x" * 300_000 + b'"}}'
    head = b"POST /r4/Basic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\n"
    answer = await answer_to(broker, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 201")
