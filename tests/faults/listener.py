"""The subscribers' side: endpoints that record every POST into the history and misbehave as they are told.

Every endpoint has a listener of its own and so an address that can be closed, or speak TLS, without the others noticing.
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

from broker.testing.notifications import read_notification
from tests.faults.history import Change, History, Posted, Told
from tests.ports import free_port


def now_ms() -> float:
    return time.time() * 1000


@dataclass(slots=True)
class Exchange:
    """One POST and what became of it. `note` writes it into the history; the first note counts."""

    request: web.Request
    body: bytes
    endpoint: "Endpoint"
    at_ms: float
    is_noted: bool = False

    def note(self, status: int, *, is_written: bool = True) -> None:
        if not self.is_noted:
            self.is_noted = True
            self.endpoint.note(read_post(self, status, is_written=is_written))


Behaviour = Callable[[Exchange], Awaitable[web.StreamResponse | None]]
"""Answers an exchange; None if the connection was broken instead."""


def read_post(exchange: Exchange, status: int, *, is_written: bool) -> Posted:
    """The notification as the history tells it."""
    found = read_notification(exchange.body)
    bodies = [one for one in found.resources if one["resourceType"] == "Observation"]
    assert len(bodies) == len(found.events), "every event of a run carries its resource"
    return Posted(
        subscription=exchange.endpoint.name,
        type=found.type,
        status=found.status,
        notification=found.id,
        digest=_digest(exchange.body),
        events=tuple(_told(event.number, body) for event, body in zip(found.events, bodies, strict=True)),
        at_ms=exchange.at_ms,
        answered=status,
        is_written=is_written,
    )


def _told(number: int, body: Mapping[str, Any]) -> Told:
    return Told(
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
    """Answers every request so."""

    async def behave(_exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(0)
        return web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return behave


async def accepting(_exchange: Exchange) -> web.StreamResponse:
    return web.Response()


async def silent(exchange: Exchange) -> None:
    """Reads the request and never answers."""
    exchange.note(0, is_written=False)
    await asyncio.Event().wait()  # the end of the connection cancels it


async def resetting(exchange: Exchange) -> None:
    """Breaks the connection off (RST) once the request is read."""
    transport = exchange.request.transport
    if transport is not None:
        one: socket.socket = transport.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def streaming(status: int, chunk: bytes, every_s: float) -> Behaviour:
    """An answer whose body has no end."""

    async def behave(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(exchange.request)
        exchange.note(status)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(chunk)
                await asyncio.sleep(every_s)
        return response

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, over and over."""
    count = 0

    async def behave(exchange: Exchange) -> web.StreamResponse | None:
        nonlocal count
        count += 1
        return await behaviours[(count - 1) % len(behaviours)](exchange)

    return behave


class Endpoint:
    """One subscriber. `taken` are the changes it answered 2xx; `behaviour` may be replaced at any time."""

    def __init__(self, name: str, history: History, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.port = free_port()
        self.behaviour: Behaviour = accepting
        self.taken: set[Change] = set()
        self.posts = 0
        self.last_taken_ms = 0.0
        self._history = history
        self._tls = tls
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/{self.name}"

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Listens, in TLS if the endpoint was made for it; another context may be given."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/{name}", self._receive)
        # a request whose client goes away is cancelled, so that a silent one ends
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        context = tls or self._tls
        await web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True
        ).start()

    async def close(self) -> None:
        """Connections are refused from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def open_without_tls(self) -> None:
        """What answers at the address now speaks no TLS."""
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

    def note(self, post: Posted) -> None:
        self._history.add(post)
        self.posts += 1
        if post.is_success and post.events:
            self.taken.update(one.change for one in post.events)
            self.last_taken_ms = post.at_ms
        self._arrived.set()

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Waits for a condition on what was received; False if the time runs out first."""
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
            exchange.note(0, is_written=False)
            raise
        if response is None:
            exchange.note(0, is_written=False)
            return web.Response(status=499)  # nobody reads it
        if not response.prepared:
            await response.prepare(request)
        try:
            await response.write_eof()
        except ConnectionError:
            exchange.note(response.status, is_written=False)
            raise
        exchange.note(response.status)
        return response
