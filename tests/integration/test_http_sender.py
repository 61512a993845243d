"""The sender against endpoints that answer wrongly: the status line decides, and no connection carries a
fault to the next request.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest

from broker.egress.addresses import Allowance, check_form
from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure, HttpResponse
from broker.egress.proxy import Proxy
from broker.errors import ConfigurationError
from tests.integration.raw_endpoint import (
    HERE,
    OK,
    Names,
    answering,
    certificate,
    fine,
    listening,
    post,
    take,
)

SUCCESSES = {
    "204 with a body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204),
    "204 with a chunked body": (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        204,
    ),
    "no reason phrase": (b"HTTP/1.1 204\r\n\r\n", 204),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200),
    "Content-Length too long": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 200),
    "Content-Length too short": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", 200),
    "Content-Length no number": (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", 200),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 200),
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
    ),
    "malformed header": (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", 200),
    "bad chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", 200),
    "huge header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500_000 + b"\r\n\r\n", 200),
    "header breaks off": (b"HTTP/1.1 202 Accepted\r\nX: ", 202),
    "HTTP/1.0 until close": (b"HTTP/1.0 200 OK\r\n\r\nok", 200),
    "HTTP/1.0 with length": (b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\nok", 201),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    "100 and 103 first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        200,
    ),
    "100 first, then a broken header": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        200,
    ),
}


@pytest.mark.parametrize("case", SUCCESSES)
async def test_a_2xx_status_line_is_a_success_once_whatever_follows_it(case: str) -> None:
    raw, status = SUCCESSES[case]
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await take(reader)
        requests += 1
        writer.write(raw)
        await writer.drain()

    async with listening(serve) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert isinstance(answer, HttpResponse)
    assert answer.status == status
    assert requests == 1


@pytest.mark.parametrize("status", [101, 300, 307, 400, 410, 503])
async def test_other_statuses_are_reported_and_never_followed(status: int) -> None:
    raw = (
        b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nUpgrade: y\r\nConnection: upgrade\r\n"
        b"Content-Length: 0\r\n\r\n" % status
    )
    async with listening(answering(raw)) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert isinstance(answer, HttpResponse)
    assert answer.status == status


@pytest.mark.parametrize(
    "after",
    [b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n", b"x", b"\r\n", OK],
    ids=["second answer", "one byte", "blank line", "same answer"],
)
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "while idle"])
async def test_an_unasked_second_answer_never_meets_the_next_request(after: bytes, is_late: bool) -> None:
    received, dropped = asyncio.Event(), asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await take(reader)
            writer.write(OK if is_late else OK + after)
            await writer.drain()
            if is_late:
                await received.wait()
                received.clear()
                writer.write(after)
                with contextlib.suppress(ConnectionError):
                    assert not await reader.read()
                dropped.release()
                return

    async with listening(serve) as port, EgressClient(HERE) as client:
        for _ in range(3):
            assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")
            if is_late:
                received.set()
                async with asyncio.timeout(60):
                    await dropped.acquire()


async def test_a_body_beyond_the_limit_is_cut_and_its_connection_is_dropped() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await take(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with listening(endless) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert answer == HttpResponse(200, None, b"x" * 65_536)
    assert sent < 40_000_000


async def test_a_header_that_drips_ends_with_the_time_limit() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        for byte in b"HTTP/1.1 200 OK\r\n".ljust(4_000, b"x"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)  # the endpoint's slowness is the case

    async with listening(dripping) as port, EgressClient(HERE) as client:
        async with asyncio.timeout(60):  # the whole header would take 200 s
            answer = await post(client, f"http://127.0.0.1:{port}/", timeout_s=0.4)
    assert answer == HttpFailure("no-response", "no answer within 0.4 s")


async def test_an_endpoint_that_never_answers_ends_with_the_time_limit() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await take(reader)
        await asyncio.Event().wait()

    async with listening(silent) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/", timeout_s=0.2)
    assert answer == HttpFailure("no-response", "no answer within 0.2 s")


async def test_an_answer_that_began_is_not_asked_for_a_second_time() -> None:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await take(reader)
        requests += 1
        writer.write(OK)
        await take(reader)
        requests += 1
        writer.write(b"HT")  # the connection is a reused one, and a byte came back
        await writer.drain()

    async with listening(serve) as port, EgressClient(HERE, keep_alive_s=60) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert answer == HttpFailure("no-response", "the connection was closed before an answer")
    assert requests == 2


async def test_connection_close_is_honoured() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await take(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async with listening(serve) as port, EgressClient(HERE) as client:
        for _ in range(3):
            assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")
    assert connections == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "secret\r\nY: b"),
        ("X", "secret\nb"),
        ("X", "secret\x00b"),
        ("X\r\nY", "secret"),
        ("", "secret"),
        ("X", "secret €"),
    ],
)
async def test_a_header_that_breaks_the_framing_never_leaves(name: str, value: str) -> None:
    async with listening(fine) as port, EgressClient(HERE) as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/", headers=((name, value),), body=b"{}", timeout_s=30
        )
    assert isinstance(answer, HttpFailure)
    assert answer.text.startswith("the request could not be sent")
    assert "secret" not in answer.text


async def test_the_next_permitted_address_is_tried_where_one_refuses_connections() -> None:
    everywhere = Names(["127.0.0.1", "127.0.0.3"])

    async def start(host: str) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await take(reader)
            writer.write(OK)
            writer.close()

        return await asyncio.start_server(serve, host, 0)

    server = await start("127.0.0.3")
    port = server.sockets[0].getsockname()[1]
    async with server, EgressClient(Allowance((ip_network("127.0.0.0/8"),)), resolve=everywhere) as client:
        assert await post(client, f"http://ehr.example:{port}/") == HttpResponse(200, None, b"ok")


async def test_idle_connections_are_closed_and_their_origin_is_forgotten() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(OK)
        await reader.read()
        closed.set()

    async with listening(serve) as port, EgressClient(HERE, keep_alive_s=0.05) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")
        async with asyncio.timeout(60):
            await closed.wait()
        assert client._origins == {}


@dataclass(slots=True)
class _Connects:
    """A proxy that records what it was asked to reach, and connects to `port` of this machine."""

    port: int
    heads: list[str] = field(default_factory=list)
    status: bytes = b"200 Connection established"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await asyncio.gather(_pipe(reader, onward_writer), _pipe(onward_reader, writer))
            finally:
                onward_writer.close()

        async with listening(serve) as port:
            yield port


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_asked_for_the_judged_address(scheme: str, tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, name="ehr.example", address="127.0.0.1")
    tls: ssl.SSLContext | None = serving if scheme == "https" else None
    names = Names(["10.1.1.1", "127.0.0.1"])
    async with listening(fine, tls) as port:
        record = _Connects(port)
        async with record.serving() as proxy_port:
            proxy = Proxy.parse(f"http://us%40er:secret@127.0.0.1:{proxy_port}")
            async with EgressClient(
                HERE, resolve=names, tls=trusting, proxy=proxy, keep_alive_s=60
            ) as client:
                for _ in range(2):
                    assert await post(client, f"{scheme}://ehr.example:{port}/") == HttpResponse(
                        200, None, b"ok"
                    )
    assert [head.split("\r\n")[0] for head in record.heads] == [f"CONNECT 127.0.0.1:{port} HTTP/1.1"]
    assert "Proxy-Authorization: Basic dXNAZXI6c2VjcmV0" in record.heads[0]


async def test_a_proxy_changes_nothing_about_what_may_be_notified() -> None:
    record = _Connects(1)
    async with record.serving() as proxy_port:
        proxy = Proxy.parse(f"http://127.0.0.1:{proxy_port}")
        async with EgressClient(HERE, resolve=Names(["10.1.1.1"]), proxy=proxy) as client:
            answer = await post(client, "http://ehr.example/")
    assert answer == HttpFailure("refused-address", "ehr.example has no address that may be notified")
    assert record.heads == []


async def test_a_proxy_that_refuses_is_no_response() -> None:
    async with listening(fine) as port:
        record = _Connects(port, status=b"407 Proxy Authentication Required")
        async with record.serving() as proxy_port:
            proxy = Proxy.parse(f"http://127.0.0.1:{proxy_port}")
            async with EgressClient(HERE, proxy=proxy) as client:
                answer = await post(client, f"http://127.0.0.1:{port}/")
    assert answer == HttpFailure("no-response", "the proxy answered 407 to CONNECT")


@pytest.mark.parametrize("url", ["https://proxy:1", "proxy:3128", "http://", "http://h:x", "http://h:1/path"])
def test_a_malformed_proxy_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="http://host:port"):
        Proxy.parse(url)


@pytest.mark.parametrize(
    "url", ["https://[a]@", "https://@", "https://[", "https://[]", "https://[::1]@x", "http://a@[b"]
)
def test_a_url_that_no_parser_reads_is_a_problem_not_an_exception(url: str) -> None:
    assert check_form(url)
