"""A subscriber for tests: an HTTP server that records every notification.

Each path is an endpoint of its own. A test replaces `Endpoint.answer` to refuse, delay or fail; requests are
recorded anyway.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from broker.clock import SystemClock, to_instant
from broker.receiver.notifications import ReceivedNotification, read_notification
from broker.receiver.signatures import NotVerified, verify
from broker.testing.http_server import HttpServer

HANG_UP = 0
"""The status of an answer that is none: the connection is closed instead."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `notification` is None if the body is not a notification; `answered` is the status of the
    response; `problem` says why the signature was refused ('' if it was not); `findings` is what is not valid
    in the Bundle, if the subscriber validates.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...]
    at_ms: int
    notification: ReceivedNotification | None
    answered: int
    problem: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of an endpoint."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


async def _accept(_request: bytes) -> Answer:
    return Answer()


@dataclass(slots=True)
class Endpoint:
    """One path of the subscriber.

    With `secrets`, requests that none of them has signed, and old ones, are answered 401. One that
    `awaits_signature` answers 503 instead until the first signed request, so that the broker sends again what
    it sent before the secret was there. The lists grow in the order of arrival. `numbers` and `latencies_ms`
    are of events answered 2xx, without duplicates. `waiting` requests have no answer yet.
    """

    name: str
    received: list[Received] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    duplicates: int = 0
    waiting: int = 0
    answer: Callable[[bytes], Awaitable[Answer]] = _accept
    secrets: Sequence[str] = ()
    awaits_signature: bool = False
    last: ReceivedNotification | None = None

    @property
    def notifications(self) -> list[ReceivedNotification]:
        return [request.notification for request in self.received if request.notification is not None]

    def of_type(self, notification_type: str) -> list[ReceivedNotification]:
        return [notification for notification in self.notifications if notification.type == notification_type]

    def problem_of(self, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
        """Why the request is refused; '' if it is signed, or need not be."""
        if not self.secrets:
            return "there is no secret yet" if self.awaits_signature else ""
        try:
            verify(headers, body, self.secrets, now_s)
        except NotVerified as problem:
            return str(problem)
        self.awaits_signature = False
        return ""

    def forget(self) -> None:
        """As if nothing had been received, and accepting again."""
        self.received, self.numbers, self.latencies_ms = [], [], []
        self.duplicates, self.last, self.answer = 0, None, _accept

    def record(self, received: Received) -> None:
        self.received.append(received)
        if received.notification is None or not 200 <= received.answered < 300:
            return
        self.last = received.notification
        highest = self.numbers[-1] if self.numbers else 0
        for event in received.notification.events:
            if event.number <= highest:
                self.duplicates += 1
                continue
            self.numbers.append(event.number)
            self.latencies_ms.append(received.at_ms - _epoch_ms(event.timestamp))


def _epoch_ms(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp() * 1000


class SimulatedSubscriber:
    """Listens while it is entered. `url(name)` is an endpoint for a Subscription.

    One that `validates` judges each notification by the rules and models of its release, in a thread and
    before it answers.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, validates: bool = False) -> None:
        self._host = host
        self._port = port
        self._validates = validates
        self._endpoints: dict[str, Endpoint] = {}
        self._server: HttpServer | None = None
        self._changed = asyncio.Event()
        self._clock = SystemClock()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        for path in ("/{name}", "/{name}/$process-message"):
            app.router.add_post(path, self._receive)
        self._server = HttpServer(app)
        self._port = await self._server.start(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop()

    def url(self, name: str) -> str:
        return f"http://{self._host}:{self._port}/{name}"

    def endpoint(self, name: str) -> Endpoint:
        return self._endpoints.setdefault(name, Endpoint(name))

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        at_ms = self._clock.now_ms()
        endpoint = self.endpoint(request.match_info["name"])
        problem = endpoint.problem_of(request.headers, body, at_ms / 1000)
        refusal = Answer(503 if endpoint.awaits_signature else 401)
        endpoint.waiting += 1
        self._changed.set()
        try:
            answer = refusal if problem else await endpoint.answer(body)
        finally:
            endpoint.waiting -= 1
        try:
            notification = read_notification(body)
        except (KeyError, ValueError, TypeError):
            notification = None
        findings: tuple[str, ...] = ()
        if self._validates and notification is not None:
            findings = await asyncio.to_thread(_findings_in, body)
        headers = tuple(request.headers.items())
        endpoint.record(Received(body, headers, at_ms, notification, answer.status, problem, findings))
        self._changed.set()
        if answer.status == HANG_UP and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        return web.Response(status=answer.status, headers=answer.headers)

    async def wait_until(self, holds: Callable[[], bool], timeout_s: float = 60.0) -> bool:
        """Waits until a condition on the recorded requests holds; False if it does not within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return holds()
        return True

    async def wait_for_more(self, endpoint: Endpoint, count: int, timeout_s: float) -> bool:
        """Waits until an endpoint has received more than `count` requests; False if it has not within the
        time.
        """
        return await self.wait_until(lambda: len(endpoint.received) > count, timeout_s)


def _findings_in(body: bytes) -> tuple[str, ...]:
    # with the first notification: what listens without one does not wait for the library
    from broker.testing.validity import findings_in_notification  # noqa: PLC0415

    return findings_in_notification(body)


def summary_line(notification: ReceivedNotification) -> str:
    """One line for a terminal: time, type, event numbers, subscription, status, foci."""
    numbers = [event.number for event in notification.events]
    span = f" #{numbers[0]}" + (f"–{numbers[-1]}" if len(numbers) > 1 else "") if numbers else ""
    foci = ", ".join(
        sorted({"/".join(event.focus.split("/")[-2:]) for event in notification.events if event.focus})
    )
    now = to_instant(SystemClock().now_ms())
    subscription_id = notification.subscription.rpartition("/")[2]
    return f"{now} {notification.type}{span} of {subscription_id} {notification.status} {foci}".rstrip()
