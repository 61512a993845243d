"""What every channel does with a real endpoint: it sends what it was given, and each answer becomes the right outcome."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from broker.channels.base import Channel, SendRequest
from broker.channels.registry import channels
from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.model.notification import DeliveryError, ErrorReport, Notification, NotificationType
from broker.model.outcome import Delivered, Gone, Outcome, Refused, Unreachable
from broker.model.release import Release
from broker.model.subscription import Channel as ChannelSettings
from broker.model.subscription import ChannelType, PayloadContent, SubscriptionId, SubscriptionStatus

HERE = Allowance((ip_network("127.0.0.0/8"),))
NOTIFICATION = Notification(
    id="3b0d0f5c-6f3e-4d52-9a4e-8a7f0f6f2a11",
    type=NotificationType.HEARTBEAT,
    release=Release.R4,
    subscription=SubscriptionId("s1"),
    topic="http://example.org/topic",
    status=SubscriptionStatus.ACTIVE,
    content=PayloadContent.EMPTY,
    events_since_start=0,
    at_ms=1_700_000_000_000,
)
BODY = '{"resourceType":"Bundle", "x": "é\\u0000 \n"}'.encode()


@dataclass
class Endpoint:
    """A subscriber on a loopback port: keeps the raw requests and answers with `answer`, or never if that is None."""

    answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    requests: list[tuple[list[str], bytes]] = field(default_factory=list)
    is_endless: bool = False
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed_early: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
                length = next(int(line[15:]) for line in head if line.lower().startswith("content-length:"))
                self.requests.append((head, await reader.readexactly(length)))
                self.asked.set()
                if self.answer is None:
                    await asyncio.Event().wait()
                    continue
                writer.write(self.answer)
                await writer.drain()
                while self.is_endless:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
        self.closed_early.set()
        writer.close()


@contextlib.asynccontextmanager
async def listening(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(endpoint.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with listening(Endpoint()) as one:
        yield one


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    async with EgressClient(HERE) as client:
        yield client


@pytest.fixture(params=["rest-hook", "message"])
def channel(request: pytest.FixtureRequest, egress: EgressClient) -> Channel:
    found: Channel = channels(egress, None, "http://broker.example")[request.param]
    return found


@pytest.fixture
def rest_hook(egress: EgressClient) -> Channel:
    return channels(egress, None, "http://broker.example")["rest-hook"]


def request_to(url: str, **more: object) -> SendRequest:
    made = SendRequest(SubscriptionId("s1"), url, "application/fhir+json", (), BODY, NOTIFICATION, 5.0)
    return made._replace(**more)  # type: ignore[arg-type]  # fields by name, checked by the tests that use them


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers, "", ""]).encode()


def error_of(outcome: Outcome) -> ErrorReport:
    assert not isinstance(outcome, Delivered)
    return outcome.error


async def test_the_request_is_what_was_registered_and_built(rest_hook: Channel, endpoint: Endpoint) -> None:
    registered = (
        ("Authorization", "Bearer a.b-c=="),
        ("X-Ward", "3 West, bed 4"),
        ("x-ward", "second"),
        ("X-Empty", ""),
        ("Cookie", "a=b"),
        ("User-Agent", "the-hospital/1"),
        ("Accept", "application/fhir+json"),
    )
    mime = "application/fhir+json; fhirVersion=4.0"
    url = f"http://127.0.0.1:{endpoint.port}/Hook/%7Eward//x/?a=b%2Bc&&d"
    outcome = await rest_hook.send(request_to(url, content_type=mime, headers=registered))
    assert outcome == Delivered(200)
    [(head, body)] = endpoint.requests
    assert body == BODY
    assert head[0] == "POST /Hook/%7Eward//x/?a=b%2Bc&&d HTTP/1.1"
    sent = [tuple(line.split(": ", 1)) for line in head[1:]]
    assert [(name.lower(), value) for name, value in sent if name.lower() == "x-ward"] == [
        ("x-ward", "3 West, bed 4"),
        ("x-ward", "second"),
    ]
    for name, value in registered:
        assert value in [text for other, text in sent if other.lower() == name.lower()]
    assert [value for name, value in sent if name == "Content-Type"] == [mime]
    assert [name for name, _ in sent].count("User-Agent") == 1
    assert "Accept-Encoding" not in [name for name, _ in sent]


async def test_the_broker_names_itself(channel: Channel, endpoint: Endpoint) -> None:
    await channel.send(request_to(endpoint.url))
    assert "User-Agent: fhir-broker" in endpoint.requests[0][0]


@pytest.mark.parametrize("code", [200, 201, 202, 204, 206, 299])
async def test_any_2xx_delivers(code: int, channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(code)
    assert await channel.send(request_to(endpoint.url)) == Delivered(code)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_repeating_may_cure(code: int, channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(code, "Retry-After: 7")
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.is_curable, outcome.retry_after_s) == (code, True, 7.0)
    assert outcome.error.code is DeliveryError.ERROR_RESPONSE
    assert str(code) in outcome.error.text


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 415, 422, 451, 600, 999])
async def test_what_repeating_does_not_cure(code: int, channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(code)
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.is_curable, outcome.retry_after_s) == (code, False, None)
    assert str(code) in outcome.error.text


async def test_410_is_gone(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(410)
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Gone)
    assert outcome.error == ErrorReport(DeliveryError.ERROR_RESPONSE, "the endpoint answered 410 Gone")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_refusals_and_not_followed(
    code: int, channel: Channel, endpoint: Endpoint
) -> None:
    endpoint.answer = status(code, f"Location: {endpoint.url}/elsewhere")
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.is_curable) == (code, False)
    assert len(endpoint.requests) == 1


async def test_silence_ends_with_the_time_limit(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = None
    outcome = await channel.send(request_to(endpoint.url, timeout_s=0.1))
    assert outcome == Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "no answer within 0.1 s"))


async def test_the_end_of_an_endless_answer_is_not_awaited(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    endpoint.is_endless = True
    assert await channel.send(request_to(endpoint.url)) == Delivered(200)
    async with asyncio.timeout(5):
        await endpoint.closed_early.wait()


async def test_a_refused_connection_is_no_response(channel: Channel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = await channel.send(request_to(f"http://127.0.0.1:{port}/"))
    assert outcome == Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "no connection: Connection refused"))


async def test_an_unknown_name_is_a_resolution_error(channel: Channel) -> None:
    error = error_of(await channel.send(request_to("https://nope.invalid/hook?key=hunter2")))
    assert error == ErrorReport(DeliveryError.DNS, "nope.invalid can't be resolved")


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[::1]/", "http://169.254.169.254/latest"])
async def test_an_address_off_limits_is_never_tried(url: str, channel: Channel) -> None:
    outcome = await channel.send(request_to(url))
    assert isinstance(outcome, Unreachable)
    assert outcome.error.code is None


async def test_a_name_that_leads_inside_is_never_tried(endpoint: Endpoint) -> None:
    async def inside(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "::1"]

    async with EgressClient(Allowance(), resolve=inside) as egress:
        outcome = await channels(egress, None, "http://broker.example")["rest-hook"].send(
            request_to(f"https://ehr.example:{endpoint.port}/")
        )
    assert outcome == Unreachable(ErrorReport(None, "ehr.example has no address that may be notified"))
    assert endpoint.requests == []


async def test_cancellation_goes_on(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = None
    sending = asyncio.ensure_future(channel.send(request_to(endpoint.url)))
    async with asyncio.timeout(5):
        await endpoint.asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


def settings(**more: object) -> ChannelSettings:
    made = ChannelSettings(
        type=ChannelType("rest-hook"),
        endpoint="https://ehr.example/hook",
        headers=(("Authorization", "Bearer x"), ("X-A", "1"), ("X-A", "2")),
        content_type="application/fhir+json",
        content=PayloadContent.ID_ONLY,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields by name, checked by the tests that use them


def refusals(channel: Channel, **more: object) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.expression) for issue in channel.check(settings(**more))]


def test_usable_settings_are_accepted(channel: Channel) -> None:
    assert refusals(channel) == []
    assert refusals(channel, content_type="application/json;charset=utf-8", headers=()) == []
    assert refusals(channel, endpoint="http://127.0.0.1:9/") == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (None, "invalid"),
        ("", "invalid"),
        ("hook", "invalid"),
        ("https://u:p@ehr.example/", "invalid"),
        ("https://10.0.0.1/", "forbidden"),
        ("http://8.8.8.8/", "forbidden"),
    ],
)
def test_an_unusable_endpoint_is_refused(url: str | None, code: str, channel: Channel) -> None:
    assert refusals(channel, endpoint=url) == [(code, "endpoint")]


@pytest.mark.parametrize(
    ("mime", "code"),
    [
        ("application/fhir+xml", "not-supported"),
        ("text/plain", "not-supported"),
        ("", "not-supported"),
        ("application/fhir+json\r\nX: y", "invalid"),
    ],
)
def test_a_content_type_other_than_json_is_refused(mime: str, code: str, channel: Channel) -> None:
    assert refusals(channel, content_type=mime) == [(code, "contentType")]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Host", "x", "forbidden"),
        ("content-length", "5", "forbidden"),
        ("Content-Type", "text/plain", "forbidden"),
        ("Transfer-Encoding", "chunked", "forbidden"),
        ("Connection", "close", "forbidden"),
        ("TE", "trailers", "forbidden"),
        ("Upgrade", "h2c", "forbidden"),
        ("Proxy-Authorization", "x", "forbidden"),
        ("", "x", "invalid"),
        ("X Y", "x", "invalid"),
        ("X:Y", "x", "invalid"),
        ("X-A", "a\r\nb: c", "invalid"),
        ("X-A", "a\x00", "invalid"),
        ("X-A", "é", "invalid"),
        ("X-A", " a", "invalid"),
    ],
)
def test_a_header_that_can_not_be_sent_is_refused_by_its_place(
    name: str, value: str, code: str, channel: Channel
) -> None:
    assert refusals(channel, headers=(("X-Fine", "x"), (name, value))) == [(code, "parameter[1]")]


def test_a_refused_header_value_is_not_repeated(channel: Channel) -> None:
    [issue] = channel.check(settings(headers=(("Authorization", "hunter2\n"),)))
    assert "hunter2" not in issue.text
