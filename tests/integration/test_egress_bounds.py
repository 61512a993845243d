"""The egress client: what it takes of an answer, and how long it waits for one."""

import asyncio
import gzip
from pathlib import Path

import pytest

from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure, HttpResponse
from broker.egress.http_connection import ResponseLimits
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


async def test_a_response_body_is_cut_at_the_limit() -> None:
    raw = b"HTTP/1.1 400 Bad\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    async with (
        listening(answering(raw)) as port,
        EgressClient(HERE, limits=ResponseLimits(1_000)) as client,
    ):
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(400, None, b"x" * 1_000)


async def test_compressed_responses_are_not_decompressed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    async with listening(answering(raw)) as port, EgressClient(HERE) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, bomb)


async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with a body that never ends."""
    await take(reader)
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\nx")
    await asyncio.Event().wait()


async def test_a_status_stands_although_the_body_never_ends_or_breaks_off() -> None:
    broken = answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\nx")
    async with EgressClient(HERE) as client:
        for serve in (trickling, broken):
            async with listening(serve) as port:
                assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(202, None, b"x")


async def test_a_status_stands_although_the_time_to_answer_passes_before_the_body_ends() -> None:
    answer: HttpResponse | HttpFailure | None = None
    async with listening(trickling) as port:
        for timeout_s in (0.3, 1.0, 5.0, 20.0):  # the header has to arrive in time, on a slow machine too
            async with EgressClient(HERE, limits=ResponseLimits(1_000, body_s=2 * timeout_s)) as client:
                answer = await post(client, f"http://127.0.0.1:{port}/", timeout_s=timeout_s)
            if isinstance(answer, HttpResponse):
                break
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

    async with listening(serve) as port, EgressClient(HERE, keep_alive_s=60) as client:
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
        async with asyncio.timeout(60):
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
            f"http://127.0.0.1:{port}/", headers=(("X", "a\r\nb: c"),), body=b"{}", timeout_s=30
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
        assert await post(client, f"https://127.0.0.1:{port}/", timeout_s=60) == HttpFailure(
            "no-response", "no TLS connection could be made"
        )


async def test_a_request_of_any_method_gets_the_location_of_the_final_answer() -> None:
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await take(reader))[0])
            interim = b"HTTP/1.1 103 Early Hints\r\nLocation: /interim\r\n\r\n"
            location = b"Location: /fhir/Patient/1\r\n" if len(heads) == 1 else b""
            writer.write(interim + b"HTTP/1.1 201 Created\r\n" + location + b"Content-Length: 0\r\n\r\n")

    async with listening(serve) as port, EgressClient(HERE) as client:
        url = f"http://127.0.0.1:{port}/fhir/Patient"
        answers = [
            await client.send(method, url, headers=(), body=b"", timeout_s=30) for method in ("PUT", "DELETE")
        ]
    assert heads == ["PUT /fhir/Patient HTTP/1.1", "DELETE /fhir/Patient HTTP/1.1"]
    assert answers == [HttpResponse(201, None, b"", "/fhir/Patient/1"), HttpResponse(201, None, b"")]
