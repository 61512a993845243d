"""The subscribers: endpoints that record every POST in the history and behave as the scenario says.

Every endpoint has its own listener, so its address can be closed or use TLS independently of the others.
"""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from broker.receiver.notifications import read_notification
from broker.testing.http_server import HttpServer
from tests.faults.history import Change, DeliveredEvent, History, NotificationPost
from tests.ports import free_port


def now_ms() -> float:
    return time.time() * 1000


@dataclass(slots=True)
class Exchange:
    """One POST and its answer. `record` adds it to the history once; later calls do nothing."""

    request: web.Request
    body: bytes
    endpoint: "Endpoint"
    at_ms: float
    is_recorded: bool = False

    def record(self, status: int, *, is_written: bool = True) -> None:
        if not self.is_recorded:
            self.is_recorded = True
            self.endpoint.record(read_post(self, status, is_written=is_written))


Behaviour = Callable[[Exchange], Awaitable[web.StreamResponse | None]]
"""Answers an exchange; None if it broke the connection instead."""


def read_post(exchange: Exchange, status: int, *, is_written: bool) -> NotificationPost:
    """The record of a notification for the history."""
    notification = read_notification(exchange.body)
    bodies = [body for body in notification.resources if body["resourceType"] == "Observation"]
    assert len(bodies) == len(notification.events), "every event of a run contains its resource"
    return NotificationPost(
        subscription=exchange.endpoint.name,
        type=notification.type,
        status=notification.status,
        notification=notification.id,
        digest=_digest(exchange.body),
        events=tuple(
            _delivered_event(event.number, body)
            for event, body in zip(notification.events, bodies, strict=True)
        ),
        at_ms=exchange.at_ms,
        answered=status,
        is_written=is_written,
    )


def _delivered_event(number: int, body: Mapping[str, Any]) -> DeliveredEvent:
    return DeliveredEvent(
        number,
        f"Observation/{body['id']}",
        int(body["meta"]["versionId"]),
        int(body["valueQuantity"]["value"]),
        body["subject"]["reference"].partition("/")[2],
        _digest(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)),
    )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def answering(status: int, **headers: str) -> Behaviour:
    """Gives every request this answer."""

    async def behave(_exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(0)
        return web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return behave


async def accepting(_exchange: Exchange) -> web.StreamResponse:
    return web.Response()


async def silent(exchange: Exchange) -> None:
    """Reads the request and never answers it."""
    exchange.record(0, is_written=False)
    await asyncio.Event().wait()  # cancelled when the connection ends


async def resetting(exchange: Exchange) -> None:
    """Resets the connection (RST) after it has read the request."""
    transport = exchange.request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def streaming(status: int, chunk: bytes, every_s: float) -> Behaviour:
    """An answer with an endless body."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(exchange.request)
        exchange.record(status)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(chunk)
                await asyncio.sleep(every_s)
        return response

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Uses the behaviours in turn."""
    count = 0

    async def behave(exchange: Exchange) -> web.StreamResponse | None:
        nonlocal count
        count += 1
        return await behaviours[(count - 1) % len(behaviours)](exchange)

    return behave


class Endpoint:
    """One subscriber. `accepted` are the changes that it answered with 2xx; `behaviour` may be replaced at
    any time.
    """

    def __init__(self, name: str, history: History, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.port = free_port()
        self.behaviour: Behaviour = accepting
        self.accepted: set[Change] = set()
        self.posts = 0
        self.last_accepted_ms = 0.0
        self._history = history
        self._tls = tls
        self._arrived = asyncio.Event()
        self._server: HttpServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/{self.name}"

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Listens, with TLS if the endpoint was created with a context; `tls` replaces that context."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/{name}", self._receive)
        # a request is cancelled when its client disconnects, so that a silent behaviour ends
        self._server = HttpServer(app, handler_cancellation=True, shutdown_timeout=0.2)
        await self._server.start("127.0.0.1", self.port, tls or self._tls)

    async def close(self) -> None:
        """Refuses connections from now on."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def open_without_tls(self) -> None:
        """Listens at the same address without TLS."""
        context, self._tls = self._tls, None
        await self.open()
        self._tls = context

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def record(self, post: NotificationPost) -> None:
        self._history.add(post)
        self.posts += 1
        if post.is_success and post.events:
            self.accepted.update(event.change for event in post.events)
            self.last_accepted_ms = post.at_ms
        self._arrived.set()

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Waits for a condition on the received posts; False if the time runs out first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not holds():
                    self._arrived.clear()
                    await self._arrived.wait()
        return holds()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, await request.read(), self, now_ms())
        try:
            response = await self.behaviour(exchange)
        except asyncio.CancelledError:
            exchange.record(0, is_written=False)
            raise
        if response is None:
            exchange.record(0, is_written=False)
            return web.Response(status=499)  # the client has disconnected
        if not response.prepared:
            await response.prepare(request)
        try:
            await response.write_eof()
        except ConnectionError:
            exchange.record(response.status, is_written=False)
            raise
        exchange.record(response.status)
        return response
