"""Endpoints that do everything a hostile server can do, all at once, beside a subscriber that works.

Each of them accepts its handshake, so its subscription is active, and answers each later notification in its
own way until the end of the test.
"""

import asyncio
import sys
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, WAIT_S, broker_with, until
from tests.integration.raw_endpoint import Serve, listening, take
from tests.integration.test_forbidden_addresses import CONNECTIONS

METADATA = "169.254.169.254"
ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
EVENTS = 60
MAX_GROWTH = 128 * 1024**2
"""In bytes. The gzip bomb alone would be four times as large; the endpoints run in this process too."""
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def gzip_bomb() -> bytes:
    """A gzip stream of half a megabyte that decompresses to 512 MiB."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    mebibyte = compressor.compress(bytes(1024**2)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + mebibyte * 512 + compressor.flush()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A header that never ends, byte by byte."""
    await take(reader)
    writer.write(b"HTTP/1.1 200")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await take(reader)
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await take(reader)
    writer.write(b"HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends its own direction before an answer and keeps reading."""
    await take(reader)
    writer.write_eof()
    await reader.read()


async def never_answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def close_after_accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def sending(raw: bytes) -> Behaviour:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(raw)
        await writer.drain()
        await reader.read()

    return send


GARBAGE = bytes(range(128, 256)) * 100
REDIRECT = f"HTTP/1.1 302 Found\r\nLocation: http://{METADATA}/latest/\r\nContent-Length: 0\r\n\r\n".encode()
BOMB = gzip_bomb()
COMPRESSED = b"HTTP/1.1 503 Busy\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB
HOSTILE: dict[str, tuple[Behaviour, str, str]] = {
    "drip": (drip, "no-response", "no answer within 1"),
    "endless header": (endless_header, "no-response", "not HTTP"),
    "endless body": (endless_body, "error-response", "500"),
    "garbage": (sending(GARBAGE), "no-response", "not HTTP"),
    "redirect": (sending(REDIRECT), "error-response", "302 Found; redirects are not followed"),
    "gzip bomb": (sending(COMPRESSED), "error-response", "503"),
    "half close": (half_close, "no-response", "closed before an answer"),
    "never answer": (never_answer, "no-response", "no answer within 1"),
    "close after accept": (close_after_accept, "no-response", "closed before an answer"),
}
"""By name: how the endpoint behaves, and the code and a part of the reason that `$status` gives."""


class HostileEndpoint:
    """Accepts requests until `is_hostile`. `attempts` counts the connections since then."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.is_hostile = False
        self.attempts = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_hostile:
            await take(reader)
            writer.write(ACCEPTED)
            return
        self.attempts += 1
        await self._behaviour(reader, writer)


def memory(field: str) -> int:
    """A field of the kernel's record of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field}")


def restart_peak() -> int:
    """The memory of this process now; `VmHWM` is its peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def test_the_bomb_grows_when_it_is_decompressed() -> None:
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text, blocks = BOMB, 0
    while text and blocks < 64:
        blocks += len(decompressor.decompress(text, 1024**2)) == 1024**2
        text = decompressor.unconsumed_tail
    assert blocks == 64
    assert len(BOMB) < 1024**2


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
async def test_hostile_endpoints_harm_nobody_but_themselves(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    endpoints = {name: HostileEndpoint(behaviour) for name, (behaviour, _, _) in HOSTILE.items()}
    ids: dict[str, str] = {}
    async with (
        AsyncExitStack() as stack,
        broker_with(
            start_broker,
            subscriber,
            retry_budget=timedelta(minutes=10),
            handshake_grace=timedelta(seconds=WAIT_S),  # a handshake may take longer on a loaded machine
        ) as broker,
    ):
        for name, endpoint in endpoints.items():
            serve: Serve = endpoint
            port = await stack.enter_async_context(listening(serve))
            document = subscription("r5", VITAL_SIGNS, f"http://127.0.0.1:{port}/", timeout_s=1)
            ids[name] = (await register_subscription(broker.client, "/r5", document))["id"]
            await broker.until_status(ids[name], "active")
        healthy_id = await broker.subscribe("healthy")
        for endpoint in endpoints.values():
            endpoint.is_hostile = True
        before = restart_peak()

        with CONNECTIONS.recorded() as tried:
            await broker.send(EVENTS // 2)

            async def all_show_their_reason() -> bool:
                return [await _shown(name) for name in HOSTILE] == [True] * len(HOSTILE)

            async def _shown(name: str) -> bool:
                _, code, reason = HOSTILE[name]
                errors = (await broker.status_of(ids[name])).get("error", [])
                return any(
                    error.get("coding", [{}])[0].get("code") == code and reason in error["text"]
                    for error in errors
                )

            await until(all_show_their_reason, 2 * WAIT_S)
            await broker.send(EVENTS // 2)  # now that each of them has failed and is retried
            received = await broker.until_numbers("healthy", EVENTS, 2 * WAIT_S)

        assert received.duplicates == 0
        assert memory("VmHWM") - before < MAX_GROWTH
        hosts = {address[0] for address in tried if isinstance(address, tuple)}
        assert "127.0.0.1" in hosts
        assert METADATA not in hosts
        assert {name for name, endpoint in endpoints.items() if not endpoint.attempts} == set()
        assert await broker.status(healthy_id) == "active"
        assert await broker.error_code(healthy_id) is None
        # a redirect can't be cured by a retry; everything else can
        await broker.until_status(ids["redirect"], "error")
        statuses = {name: await broker.status(subscription_id) for name, subscription_id in ids.items()}
        assert statuses == {name: "error" if name == "redirect" else "active" for name in HOSTILE}
