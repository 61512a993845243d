"""The ASGI middleware: which requests it answers, bounds of the body, a broker that hangs up."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from broker.receiver import Event, Ledger, NotificationMiddleware, Receiver
from broker.receiver.middleware import Message
from tests.unit.receiver.bundles import SECRET, encoded, r5_bundle, signed


async def hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


class Fixture:
    def __init__(self, *, secrets: list[str] | None = None, max_bytes: int = 10_000) -> None:
        self.numbers: list[int] = []
        self.middleware = NotificationMiddleware(
            Starlette(routes=[Route("/", hello), Route("/notifications/other", hello)]),
            Receiver(self._handle, Ledger(), secrets=secrets),
            max_bytes=max_bytes,
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.middleware), base_url="http://subscriber.example"
        )

    async def _handle(self, event: Event) -> None:
        self.numbers.append(event.number)


async def test_notifications_are_received_and_other_requests_go_on() -> None:
    fixture = Fixture()
    answer = await fixture.client.post("/notifications", content=encoded(r5_bundle(1)))
    assert (answer.status_code, answer.text) == (200, "")
    assert (await fixture.client.get("/")).text == "hello"
    assert (await fixture.client.get("/notifications/other")).text == "hello"
    refused = await fixture.client.get("/notifications")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert fixture.numbers == [1]


async def test_the_answer_says_why_a_notification_is_refused() -> None:
    fixture = Fixture(secrets=[SECRET])
    body = encoded(r5_bundle(1))
    answer = await fixture.client.post("/notifications", content=body)
    assert (answer.status_code, answer.text) == (401, "the header webhook-id is missing")
    answer = await fixture.client.post("/notifications", content=body, headers=signed(body))
    assert (answer.status_code, answer.text) == (401, "the timestamp is too far from now")


async def test_a_body_over_the_bound_is_not_read_to_its_end() -> None:
    fixture = Fixture(max_bytes=100)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000:
            sent += 10
            yield b"x" * 10

    answer = await fixture.client.post("/notifications", content=endless())
    assert answer.status_code == 413
    assert sent < 1_000


async def test_nothing_is_received_from_a_broker_that_hangs_up() -> None:
    fixture = Fixture()
    messages: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": encoded(r5_bundle(1)), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Message:
        return next(messages)

    async def send(_message: Message) -> None:
        pytest.fail("nobody listens")

    scope = {"type": "http", "method": "POST", "path": "/notifications", "headers": []}
    await fixture.middleware(scope, receive, send)
    assert fixture.numbers == []


async def test_below_a_mount_the_path_counts_from_there() -> None:
    fixture = Fixture()
    mounted = Starlette(routes=[Mount("/fhir", fixture.middleware)])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(mounted), base_url="http://subscriber.example"
    ) as client:
        answer = await client.post("/fhir/notifications", content=encoded(r5_bundle(1)))
    assert answer.status_code == 200
    assert fixture.numbers == [1]
