"""The producer and the endpoints of a measurement, on plain asyncio, so that they cost little compared with
the broker.

Both support the necessary subset of HTTP/1.1: messages with a Content-Length or without a body, over
persistent connections. A request is never sent twice; a lost answer fails the measurement.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FOCUS = re.compile(rb"Observation/([0-9A-Za-z.-]+)")
_ASSIGNED = re.compile(rb"(?:Observation|Subscription)/([0-9A-Za-z.-]+)")
_EVENT = b'"event-number"'
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Framing:
    """Splits received bytes into messages: the head without its blank line, and the body."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, arrived: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._buffer += arrived
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = _LENGTH.search(head)
            until = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < until:
                return
            body = bytes(self._buffer[end + 4 : until])
            del self._buffer[:until]
            yield head, body


def request(
    path: str, body: bytes, authorization: str = "", content_type: str = "application/fhir+json"
) -> bytes:
    """A POST of FHIR JSON (or of another type) that asks for a minimal answer."""
    credentials = f"Authorization: {authorization}\r\n" if authorization else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"{credentials}Prefer: return=minimal\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an endpoint answers: late, with a refusal, or never."""

    delay_s: float = 0.0
    is_unavailable: bool = False
    is_silent: bool = False


PROMPT = Behaviour()


@dataclass(slots=True)
class Sink:
    """Endpoints, each a path, and counters of the events that they accepted. A handshake has no event."""

    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    arrivals: dict[str, float] = field(default_factory=dict)
    first_at: dict[str, float] = field(default_factory=dict)
    last_at: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    ports: list[int] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _held: dict[str, list[asyncio.Transport]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, ports: int = 1) -> None:
        """Listens on this number of ports, each an origin."""
        loop = asyncio.get_running_loop()
        for _ in range(ports):
            server = await loop.create_server(lambda: _Endpoint(self), "127.0.0.1", 0, backlog=512)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def url(self, path: str, port: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[port]}/{path}"

    def reset(self) -> None:
        """Resets the counters."""
        self.events.clear()
        for times in (self.arrivals, self.first_at, self.last_at):
            times.clear()
        self.requests = 0

    def behave(self, path: str, behaviour: Behaviour) -> None:
        """Sets the behaviour of an endpoint and closes the connections of its unanswered requests."""
        self.behaviour[path] = behaviour
        for transport in self._held.pop(path, []):
            transport.close()

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Waits for a condition. Raises `TimeoutError` when the time runs out."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def until_events(self, path: str, count: int, timeout_s: float) -> None:
        """Until an endpoint has accepted `count` events."""
        await self.until(lambda: self.events[path] >= count, timeout_s)

    def receive(self, path: str, body: bytes, transport: asyncio.Transport) -> None:
        behaviour = self.behaviour.get(path, PROMPT)
        if behaviour.is_silent:
            self._held.setdefault(path, []).append(transport)
        elif behaviour.is_unavailable:
            transport.write(_UNAVAILABLE)
        elif behaviour.delay_s:
            asyncio.get_running_loop().call_later(
                behaviour.delay_s, self._accept, path, body, time.perf_counter(), transport
            )
        else:
            self._accept(path, body, time.perf_counter(), transport)

    def _accept(self, path: str, body: bytes, at: float, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        transport.write(_OK)
        self.requests += 1
        focus = _FOCUS.search(body)
        if focus is not None:
            self.arrivals.setdefault(focus[1].decode(), at)
            self.events[path] += max(1, body.count(_EVENT))
            self.first_at.setdefault(path, at)
            self.last_at[path] = at
        self._changed.set()


class _Endpoint(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._framing = Framing()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        for head, body in self._framing.feed(data):
            if self._transport is not None:
                self._sink.receive(head.split(b" ", 2)[1].decode()[1:], body, self._transport)


class LostAnswerError(Exception):
    """A request was refused, or its connection ended before the answer."""


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._framing = Framing()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        for head, body in self._framing.feed(data):
            if self._waiting is not None and not self._waiting.done():
                if head.startswith(b"HTTP/1.1 20"):
                    self._waiting.set_result(head)
                else:
                    self._waiting.set_exception(LostAnswerError((head + b"\n" + body).decode()[:500]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LostAnswerError(f"connection closed: {exc}"))

    async def post(self, message: bytes) -> bytes:
        """Sends a request and returns the head of its answer."""
        if self._transport is None or self._transport.is_closing():
            raise LostAnswerError("connection closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Producer:
    """Posts over persistent connections. `sent` maps the assigned id of each resource to its message's index
    and due time, `answered` to the time of the answer.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent: dict[str, tuple[int, float]] = {}
        self.answered: dict[str, float] = {}

    async def as_fast_as_answered(self, messages: Sequence[bytes], connections: int) -> None:
        """A closed loop: each connection sends its next request after the answer to the previous one."""
        pending = iter(enumerate(messages))
        open_connections = await self._connect(min(connections, len(messages)))

        async def work(connection: _Connection) -> None:
            for n, message in pending:
                await self._post(connection, n, message, time.perf_counter())

        await self._gather([work(connection) for connection in open_connections], open_connections)

    async def at_rate(self, messages: Sequence[bytes], per_second: float, connections: int) -> None:
        """An open loop: requests start on time; the wait for a free connection counts from the due time."""
        free: asyncio.Queue[_Connection] = asyncio.Queue()
        open_connections = await self._connect(connections)
        for connection in open_connections:
            free.put_nowait(connection)
        started = time.perf_counter()

        async def send(n: int, message: bytes) -> None:
            due = started + n / per_second
            await asyncio.sleep(due - time.perf_counter())
            connection = await free.get()
            await self._post(connection, n, message, due)
            free.put_nowait(connection)

        await self._gather([send(n, message) for n, message in enumerate(messages)], open_connections)

    async def _post(self, connection: _Connection, n: int, message: bytes, at: float) -> None:
        head = await connection.post(message)
        location = _ASSIGNED.search(head)
        if location is not None:
            self.sent[location[1].decode()] = n, at
            self.answered[location[1].decode()] = time.perf_counter()

    async def _connect(self, count: int) -> list[_Connection]:
        loop = asyncio.get_running_loop()
        return [(await loop.create_connection(_Connection, "127.0.0.1", self._port))[1] for _ in range(count)]

    async def _gather(self, work: list[Coroutine[None, None, None]], connections: list[_Connection]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for coroutine in work:
                    tasks.create_task(coroutine)
        finally:
            for connection in connections:
                connection.close()
