"""A subscriber to test against: a real HTTP server that records every notification and answers as it is told.

Each path is an endpoint of its own. `Endpoint.answer` may be replaced to refuse, delay or break; the recording goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from broker.clock import to_instant
from broker.testing.notifications import ReceivedNotification, read_notification


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in. `notification` is None if the body is none; `answered` the status given back."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    at_ms: int
    notification: ReceivedNotification | None
    answered: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


async def _accept(_request: bytes) -> Answer:
    return Answer()


@dataclass(slots=True)
class Endpoint:
    """One path of the subscriber. The lists grow in the order of arrival; numbers are those answered 2xx."""

    name: str
    received: list[Received] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    duplicates: int = 0
    answer: Callable[[bytes], Awaitable[Answer]] = _accept
    last: ReceivedNotification | None = None

    @property
    def notifications(self) -> list[ReceivedNotification]:
        return [one.notification for one in self.received if one.notification is not None]

    def of_type(self, kind: str) -> list[ReceivedNotification]:
        return [one for one in self.notifications if one.type == kind]

    def note(self, received: Received) -> None:
        self.received.append(received)
        if received.notification is None or not 200 <= received.answered < 300:
            return
        self.last = received.notification
        seen = self.numbers[-1] if self.numbers else 0
        for event in received.notification.events:
            if event.number <= seen:
                self.duplicates += 1
                continue
            self.numbers.append(event.number)
            self.latencies_ms.append(received.at_ms - _epoch_ms(event.timestamp))


def _epoch_ms(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp() * 1000


class SimulatedSubscriber:
    """Listens while it is entered; `url(name)` is an endpoint to register."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._endpoints: dict[str, Endpoint] = {}
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        for path in ("/{name}", "/{name}/$process-message"):
            app.router.add_post(path, self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, name: str) -> str:
        return f"http://{self._host}:{self._port}/{name}"

    def endpoint(self, name: str) -> Endpoint:
        return self._endpoints.setdefault(name, Endpoint(name))

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        at_ms = time.time_ns() // 1_000_000
        endpoint = self.endpoint(request.match_info["name"])
        answer = await endpoint.answer(body)
        try:
            notification = read_notification(body)
        except (KeyError, ValueError, TypeError):
            notification = None
        endpoint.note(Received(body, tuple(request.headers.items()), at_ms, notification, answer.status))
        self._changed.set()
        return web.Response(status=answer.status, headers=answer.headers)

    async def wait_until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        """Waits for a condition on what was received; False if the time runs out first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return holds()
        return True

    async def wait_for_more(self, endpoint: Endpoint, known: int, timeout_s: float) -> bool:
        """Waits until an endpoint has received more than `known` requests."""
        return await self.wait_until(lambda: len(endpoint.received) > known, timeout_s)


def summary_line(notification: ReceivedNotification) -> str:
    """One line for a terminal."""
    numbers = [event.number for event in notification.events]
    span = f" #{numbers[0]}" + (f"–{numbers[-1]}" if len(numbers) > 1 else "") if numbers else ""
    foci = ", ".join(
        sorted({"/".join(event.focus.split("/")[-2:]) for event in notification.events if event.focus})
    )
    now = to_instant(time.time_ns() // 1_000_000)
    return f"{now} {notification.type}{span} of {notification.subscription.rpartition('/')[2]} {notification.status} {foci}".rstrip()
