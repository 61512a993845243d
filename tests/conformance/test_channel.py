"""What every channel that pushes over HTTP does: it sends the request as registered and maps each answer to
an outcome.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from broker.channels.base import Channel, opened
from broker.channels.exchange import Exchange
from broker.channels.pull import PullChannel
from broker.channels.registry import channels
from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure, HttpResponse
from broker.errors import Issue
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Delivered, DeliveryOutcome, EndpointGone, Refused, Unreachable
from tests.conformance.channel_fixture import (
    BASE_URL,
    BODY,
    LOOPBACK,
    SETTINGS,
    Endpoint,
    listening,
    request_to,
)
from tests.ports import free_port
from tests.subscriptions import stored_subscription


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with listening(Endpoint()) as endpoint:
        yield endpoint


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    async with EgressClient(LOOPBACK) as client:
        yield client


@pytest.fixture(params=["rest-hook", "message"])
async def channel(request: pytest.FixtureRequest, egress: EgressClient) -> AsyncIterator[Channel]:
    async with opened(channels(egress.post, egress.allowance, None, BASE_URL)) as by_code:
        yield by_code[request.param]


@pytest.fixture
async def rest_hook(egress: EgressClient) -> AsyncIterator[Channel]:
    async with opened(channels(egress.post, egress.allowance, None, BASE_URL)) as by_code:
        yield by_code["rest-hook"]


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers, "", ""]).encode()


def error_of(outcome: DeliveryOutcome) -> ErrorReport:
    assert not isinstance(outcome, Delivered)
    return outcome.error


async def test_the_exchange_has_what_was_sent_and_the_beginning_of_the_answer(
    rest_hook: Channel, endpoint: Endpoint
) -> None:
    endpoint.answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2_000
    exchange = Exchange()
    request = request_to(endpoint.url, headers=(("X-Ward", "3"),))._replace(exchange=exchange)
    await rest_hook.send(request)
    assert exchange.headers == (("Content-Type", "application/fhir+json"), ("X-Ward", "3"))
    assert exchange.body == BODY
    assert (exchange.status, exchange.answer) == (503, b"x" * 1_024)


async def test_the_exchange_with_an_endpoint_that_does_not_answer_has_what_was_sent(
    rest_hook: Channel, endpoint: Endpoint
) -> None:
    endpoint.answer, exchange = None, Exchange()
    await rest_hook.send(request_to(endpoint.url, timeout_s=0.2)._replace(exchange=exchange))
    assert (exchange.body, exchange.status, exchange.answer) == (BODY, 0, b"")


async def test_the_request_has_the_registered_headers_and_the_built_body(
    rest_hook: Channel, endpoint: Endpoint
) -> None:
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
    assert outcome == Delivered("200 OK")
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


async def test_the_user_agent_names_the_broker(channel: Channel, endpoint: Endpoint) -> None:
    await channel.send(request_to(endpoint.url))
    assert "User-Agent: fhir-broker" in endpoint.requests[0][0]


@pytest.mark.parametrize("code", [200, 201, 202, 204, 206, 299])
async def test_any_2xx_delivers(code: int, channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(code)
    assert isinstance(await channel.send(request_to(endpoint.url)), Delivered)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_408_425_429_and_5xx_are_transient_refusals(
    code: int, channel: Channel, endpoint: Endpoint
) -> None:
    endpoint.answer = status(code, "Retry-After: 7")
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert (outcome.is_transient, outcome.retry_after_s) == (True, 7.0)
    assert outcome.error.code is DeliveryError.ERROR_RESPONSE
    assert str(code) in outcome.error.text


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 415, 422, 451, 600, 999])
async def test_other_statuses_are_permanent_refusals(code: int, channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(code)
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert (outcome.is_transient, outcome.retry_after_s) == (False, None)
    assert str(code) in outcome.error.text


async def test_410_is_endpoint_gone(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = status(410)
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, EndpointGone)
    assert outcome.error == ErrorReport(DeliveryError.ERROR_RESPONSE, "the endpoint answered 410 Gone")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_permanent_refusals_and_are_not_followed(
    code: int, channel: Channel, endpoint: Endpoint
) -> None:
    endpoint.answer = status(code, f"Location: {endpoint.url}/elsewhere")
    outcome = await channel.send(request_to(endpoint.url))
    assert isinstance(outcome, Refused)
    assert not outcome.is_transient
    assert str(code) in outcome.error.text
    assert len(endpoint.requests) == 1


async def test_an_endpoint_that_does_not_answer_times_out(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = None
    outcome = await channel.send(request_to(endpoint.url, timeout_s=0.1))
    assert outcome == Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "no answer within 0.1 s"))


async def test_an_endless_response_body_is_cut_off(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    endpoint.is_endless = True
    assert await channel.send(request_to(endpoint.url)) == Delivered("200 OK")
    async with asyncio.timeout(60):
        await endpoint.disconnected.wait()


async def test_a_refused_connection_is_no_response(channel: Channel) -> None:
    outcome = await channel.send(request_to(f"http://127.0.0.1:{free_port()}/"))
    assert outcome == Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "no connection: Connection refused"))


async def test_an_unknown_host_name_is_a_resolution_error(channel: Channel) -> None:
    error = error_of(await channel.send(request_to("https://nope.invalid/hook?key=hunter2")))
    assert error == ErrorReport(DeliveryError.DNS, "nope.invalid can't be resolved")


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[::1]/", "http://169.254.169.254/latest"])
async def test_an_address_that_is_not_allowed_is_never_contacted(url: str, channel: Channel) -> None:
    outcome = await channel.send(request_to(url))
    assert isinstance(outcome, Unreachable)
    assert outcome.error.code is None


async def test_a_host_name_with_internal_addresses_is_never_contacted(endpoint: Endpoint) -> None:
    async def inside(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "::1"]

    async with EgressClient(Allowance(), resolve=inside) as egress:
        rest_hook = channels(egress.post, egress.allowance, None, BASE_URL)["rest-hook"]
        outcome = await rest_hook.send(request_to(f"https://ehr.example:{endpoint.port}/"))
    assert outcome == Unreachable(ErrorReport(None, "ehr.example has no address that may be notified"))
    assert endpoint.requests == []


async def test_cancellation_is_propagated(channel: Channel, endpoint: Endpoint) -> None:
    endpoint.answer = None
    sending = asyncio.ensure_future(channel.send(request_to(endpoint.url)))
    async with asyncio.timeout(60):
        await endpoint.received.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


def refusals(channel: Channel, **settings: Any) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.expression) for issue in issues_of(channel, **settings)]


def issues_of(channel: Channel, **settings: Any) -> list[Issue]:
    subscription = stored_subscription()
    return channel.check(subscription.changed(channel=replace(SETTINGS, **settings)))


def test_usable_settings_are_accepted(channel: Channel) -> None:
    assert refusals(channel) == []
    assert refusals(channel, headers=(("Authorization", "Bearer x"), ("X-A", "1"), ("X-A", "2"))) == []
    assert refusals(channel, content_type="application/json;charset=utf-8") == []
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
def test_a_header_that_cannot_be_sent_is_refused_with_its_position(
    name: str, value: str, code: str, channel: Channel
) -> None:
    assert refusals(channel, headers=(("X-Fine", "x"), (name, value))) == [(code, "parameter[1]")]


def test_the_message_about_a_refused_header_does_not_repeat_its_value(channel: Channel) -> None:
    [issue] = issues_of(channel, headers=(("Authorization", "hunter2\n"),))
    assert "hunter2" not in issue.text


def test_attempts_to_one_origin_share_a_concurrency_key(channel: Channel) -> None:
    subscription, same_origin, other = (
        request_to(url).subscription
        for url in ("https://ehr.example/a", "https://ehr.example/b?c", "https://ehr.example:8443/a")
    )
    assert channel.concurrency_key(subscription) == channel.concurrency_key(same_origin)
    assert channel.concurrency_key(subscription) != channel.concurrency_key(other)


@pytest.mark.parametrize("code", ["rest-hook", "message"])
async def test_a_function_can_stand_in_for_the_http_client(code: str) -> None:
    urls: list[str] = []

    async def post(
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        urls.append(url)
        return HttpResponse(503, 2.5, b"")

    outcome = await channels(post, LOOPBACK, None, BASE_URL)[code].send(
        request_to("https://ehr.example/fhir")
    )
    assert isinstance(outcome, Refused)
    assert (outcome.is_transient, outcome.retry_after_s) == (True, 2.5)
    assert [url.startswith("https://ehr.example/fhir") for url in urls] == [True]


async def test_channels_are_opened_once_and_closed_in_reverse_order() -> None:
    calls: list[str] = []

    class RecordingChannel(PullChannel):
        async def open(self) -> None:
            calls.append(f"open {self._connection}")

        async def close(self) -> None:
            calls.append(f"close {self._connection}")

    async with opened({"a": RecordingChannel("a"), "b": RecordingChannel("b")}):
        calls.append("send")
    assert calls == ["open a", "open b", "send", "close b", "close a"]
