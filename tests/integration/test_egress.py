"""The egress client against real sockets: where it connects, what it refuses, and how it limits responses."""

import asyncio
import contextlib
import gzip
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure, HttpResponse

HERE = Allowance((ip_network("127.0.0.1/32"),))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server of raw connections on a free loopback port; what still runs at the end is cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(run(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def take(reader: asyncio.StreamReader) -> list[str]:
    """Reads one request; returns its head."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    await reader.readexactly(next(int(line[15:]) for line in head if line.startswith("Content-Length:")))
    return head


async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await take(reader)
        writer.write(OK)


def answering(raw: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(raw)
        await writer.drain()

    return serve


async def post(client: EgressClient, url: str, *, timeout_s: float = 5.0) -> HttpResponse | HttpFailure:
    return await client.post(url, headers=(), body=b"{}", timeout_s=timeout_s)


class Names:
    """A resolver whose answers a test sets; counts its lookups."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.lookups.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_host_name_is_looked_up_once_and_only_its_permitted_addresses_are_used() -> None:
    names = Names(["10.0.0.1", "::1", "127.0.0.1", "169.254.169.254"])
    async with listening(fine) as port, EgressClient(HERE, resolve=names) as client:
        answer = await post(client, f"http://ehr.example:{port}/")
    assert answer == HttpResponse(200, None, b"ok")
    assert names.lookups == ["ehr.example"]


async def test_a_host_name_rebound_to_an_internal_address_is_refused_on_the_next_connection() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    closing = answering(OK)  # so that the second attempt needs a connection of its own
    async with listening(closing) as port, EgressClient(HERE, resolve=names) as client:
        first = await post(client, f"http://ehr.example:{port}/")
        second = await post(client, f"http://ehr.example:{port}/")
    assert first == HttpResponse(200, None, b"ok")
    assert second == HttpFailure("refused-address", "ehr.example has no address that may be notified")
    assert names.lookups == ["ehr.example"] * 2


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "10.0.0.1", "8.8.8.8", "::1", "::ffff:10.0.0.1", "fe80::1%lo", "nonsense"]
)
async def test_plain_http_reaches_allowed_networks_only(address: str) -> None:
    async with EgressClient(HERE, resolve=Names([address])) as client:
        answer = await post(client, "http://ehr.example/")
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "refused-address"
    assert address not in answer.text


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "10.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "2130706433", "127.1", "0x7f.1", "0177.0.0.1"],
)
async def test_an_address_in_the_url_is_judged_without_a_lookup(host: str) -> None:
    names = Names(["127.0.0.1"])
    async with listening(fine) as port, EgressClient(HERE, resolve=names) as client:
        answer = await post(client, f"http://{host}:{port}/")
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "refused-address"
    assert names.lookups == []


async def test_addresses_from_the_system_resolver_are_judged_too() -> None:
    async with listening(fine) as port:
        async with EgressClient(Allowance()) as client:
            refused = await post(client, f"https://localhost:{port}/")
        async with EgressClient(Allowance((*HERE.networks, ip_network("::1/128")))) as client:
            allowed = await post(client, f"http://localhost:{port}/")
    assert refused == HttpFailure("refused-address", "localhost has no address that may be notified")
    assert allowed == HttpResponse(200, None, b"ok")


@pytest.mark.parametrize("failure", [OSError("no such name"), UnicodeError("label too long")])
async def test_a_failed_lookup_is_reported_as_dns(failure: Exception) -> None:
    async def failing(_host: str, _port: int) -> list[str]:
        raise failure

    async with EgressClient(HERE, resolve=failing) as client:
        assert await post(client, "https://ehr.example/") == HttpFailure(
            "dns", "ehr.example can't be resolved"
        )


async def test_the_timeout_includes_the_lookup() -> None:
    async def stuck(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with EgressClient(HERE, resolve=stuck) as client:
        answer = await post(client, "https://ehr.example/", timeout_s=0.1)
    assert answer == HttpFailure("no-response", "no answer within 0.1 s")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with listening(fine) as port, EgressClient(HERE) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")


async def test_cookies_of_an_endpoint_are_not_sent_back() -> None:
    heads: list[list[str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await take(reader))
            writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: who=me; Path=/\r\n\r\n")

    async with listening(serve) as port, EgressClient(HERE) as client:
        await post(client, f"http://127.0.0.1:{port}/")
        await post(client, f"http://127.0.0.1:{port}/")
    assert len(heads) == 2
    assert not [line for head in heads for line in head if line.lower().startswith("cookie")]


async def test_a_response_body_is_cut_at_the_limit() -> None:
    raw = b"HTTP/1.1 400 Bad\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    async with (
        listening(answering(raw)) as port,
        EgressClient(HERE, max_response_bytes=1_000) as client,
    ):
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(400, None, b"x" * 1_000)


async def test_compressed_responses_are_not_decompressed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    async with listening(answering(raw)) as port, EgressClient(HERE) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, bomb)


async def test_a_status_stands_although_the_body_never_ends_or_breaks_off() -> None:
    async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\nx")
        await asyncio.Event().wait()

    broken = answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\nx")
    async with EgressClient(HERE) as client:
        for serve in (trickling, broken):
            async with listening(serve) as port:
                for timeout_s in (0.3, 5.0):  # the time to answer is over before the body, or not
                    answer = await post(client, f"http://127.0.0.1:{port}/", timeout_s=timeout_s)
                    assert answer == HttpResponse(202, None, b"x")


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"garbage" * 100_000,
        b"HTTP/1.1 200",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
        b"",
    ],
)
async def test_a_response_that_is_not_http_is_no_response(raw: bytes) -> None:
    async with listening(answering(raw)) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "no-response"


async def test_an_idle_connection_closed_by_the_endpoint_is_replaced() -> None:
    connections = 0

    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await take(reader)
        writer.write(OK)
        await reader.readexactly(1)  # the next request has begun, too late for this connection

    async with listening(one_each) as port, EgressClient(HERE) as client:
        answers = [await post(client, f"http://127.0.0.1:{port}/") for _ in range(3)]
    assert answers == [HttpResponse(200, None, b"ok")] * 3
    assert connections >= 3


async def test_a_request_is_sent_once_when_the_endpoint_closes_a_new_connection() -> None:
    requests = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await take(reader)
        requests += 1

    async with listening(hang_up) as port, EgressClient(HERE) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert answer == HttpFailure("no-response", "the connection was closed before an answer")
    assert requests == 1


async def test_connections_are_reused() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await fine(reader, writer)

    async with listening(serve) as port, EgressClient(HERE) as client:
        for _ in range(5):
            await post(client, f"http://127.0.0.1:{port}/")
    assert connections == 1


async def test_waiting_for_a_connection_to_an_origin_does_not_use_up_the_time_limit() -> None:
    release = asyncio.Event()
    inside = max_inside = 0

    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, max_inside
        while True:
            await take(reader)
            inside += 1
            max_inside = max(max_inside, inside)
            await release.wait()
            inside -= 1
            writer.write(OK)

    async with listening(held) as port, EgressClient(HERE, connections_per_origin=2) as client:
        url = f"http://127.0.0.1:{port}/"
        sent = [asyncio.ensure_future(post(client, url, timeout_s=30)) for _ in range(2)]
        async with asyncio.timeout(30):
            while inside < 2:  # noqa: ASYNC110 the endpoint runs in the same loop
                await asyncio.sleep(0.01)
        queued = asyncio.ensure_future(post(client, url, timeout_s=0.01))
        behind = [asyncio.ensure_future(post(client, url, timeout_s=30)) for _ in range(10)]
        await asyncio.sleep(0.2)  # many times the limit of the queued request
        assert not queued.done()
        release.set()
        assert await asyncio.gather(*sent, *behind) == [HttpResponse(200, None, b"ok")] * 12
        await queued
    assert max_inside == 2


async def test_an_origin_that_does_not_answer_takes_no_connection_from_another() -> None:
    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        listening(silent) as dead,
        listening(fine) as alive,
        EgressClient(HERE, connections_per_origin=2) as client,
    ):
        stuck = [asyncio.ensure_future(post(client, f"http://127.0.0.1:{dead}/")) for _ in range(50)]
        answers = [await post(client, f"http://127.0.0.1:{alive}/") for _ in range(20)]
        for request in stuck:
            request.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert answers == [HttpResponse(200, None, b"ok")] * 20
        assert sum(origin.requests for origin in client._origins.values()) == 0


async def test_a_header_that_cannot_be_sent_is_a_failure_value() -> None:
    async with listening(fine) as port, EgressClient(HERE) as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/", headers=(("X", "a\r\nb: c"),), body=b"{}", timeout_s=5
        )
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "no-response"


async def test_retry_after_is_parsed() -> None:
    raw = (
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nDate: Thu, 01 Jan 2026 12:00:00 GMT\r\n"
        b"Retry-After: Thu, 01 Jan 2026 12:02:00 GMT\r\n\r\n"
    )
    async with listening(answering(raw)) as port, EgressClient(HERE) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(503, 120.0, b"")


def certificate(folder: Path, *, name: str, address: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a trusting client's context of a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(IPv4Address(address))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "cert.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    return serving, ssl.create_default_context(cafile=os.fspath(pem))


async def test_certificates_are_verified_for_the_host_name(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, name="ehr.example", address="127.0.0.1")
    names = Names(["127.0.0.1"])
    async with listening(fine, serving) as port:
        async with EgressClient(HERE, resolve=names) as client:
            unknown = await post(client, f"https://ehr.example:{port}/")
        async with EgressClient(HERE, resolve=names, tls=trusting) as client:
            trusted = await post(client, f"https://ehr.example:{port}/")
            other = await post(client, f"https://other.example:{port}/")
    assert isinstance(unknown, HttpFailure)
    assert unknown.text.startswith("the certificate is not accepted: self")
    assert trusted == HttpResponse(200, None, b"ok")
    assert isinstance(other, HttpFailure)
    assert "other.example" in other.text


async def test_an_endpoint_without_tls_is_no_response() -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await asyncio.Event().wait()

    async with listening(plain) as port, EgressClient(HERE) as client:
        assert await post(client, f"https://127.0.0.1:{port}/", timeout_s=20) == HttpFailure(
            "no-response", "no TLS connection could be made"
        )
