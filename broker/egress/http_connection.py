"""One HTTP/1.1 connection to an endpoint: a request out, its answer back.

The final status line decides: a 2xx is a success whatever follows it (R-304). A body with a wrong length, a
malformed header, a connection that breaks off: the status stands, and the connection closes because it is out
of step. `EgressClient` opens connections; nothing else uses them.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import httptools

MAX_HEADER_BYTES = 65_536
BODY_S = 1.0
"""How long the body of an answer may take after its header, where only people read it: the status is known.
"""
_CACHING = frozenset({b"cache-control", b"age", b"expires", b"date"})
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_HEADER_END = re.compile(rb"\r?\n\r?\n")


class ResponseLimits(NamedTuple):
    """How much of the body of an answer is read, and for how long after its header."""

    max_bytes: int
    body_s: float = BODY_S


class HttpAnswer(NamedTuple):
    """What the endpoint sent. `body` is at most the first bytes of it that the limits allow. `caching` are
    the headers that say for how long it may be kept, by their names in lower case.
    """

    status: int
    retry_after: str | None
    date: str | None
    body: bytes
    caching: Mapping[str, str]
    location: str = ""


class ConnectionEnded(Exception):  # noqa: N818 an expected end, told apart by its attribute
    """The connection closed before a status line. `is_untouched`: not one byte of an answer had arrived."""

    def __init__(self, *, is_untouched: bool) -> None:
        super().__init__("the connection was closed before an answer")
        self.is_untouched = is_untouched


class NotHttp(Exception):  # noqa: N818 an expected answer of a wrong service
    """The endpoint's answer is not HTTP, or its header exceeds `MAX_HEADER_BYTES`."""


class HttpConnection(asyncio.Protocol):
    """One connection, one exchange at a time. `is_reusable` says whether another request may follow."""

    def __init__(self, limits: ResponseLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: _Exchange | None = None
        self.is_reusable = True
        self.idle_since = 0.0

    async def exchange(self, request: bytes, deadline: float) -> HttpAnswer:
        """Sends `request` and returns the answer. `deadline` is loop time and bounds the wait for the status.

        Raises `ConnectionEnded`, `NotHttp`, or `TimeoutError`. Cancellation closes the connection.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionEnded(is_untouched=True)
        timer = self._loop.call_at(deadline, self._expire)
        exchange = self._exchange = _Exchange(self._loop.create_future(), timer, self._limits.max_bytes)
        self._transport.write(request)
        try:
            return await exchange.answer
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            exchange.timer.cancel()

    def peer_certificate(self) -> dict[str, Any]:
        """The certificate of the server, as `ssl.SSLSocket.getpeercert` describes it; empty without TLS."""
        certificate = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return dict(certificate or {})

    def close(self) -> None:
        """Drops the connection at once, with whatever was not sent yet."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # nobody asked: a late second answer must not meet the next request
            self.close()
            return
        if not exchange.has_header:
            exchange.header += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_reusable = False
            self._finish(exchange)
        except httptools.HttpParserError:
            self.is_reusable = False
            self._end(exchange, NotHttp("the answer is not HTTP"))
        if not exchange.has_header and len(exchange.header) > MAX_HEADER_BYTES:
            self._end(exchange, NotHttp(f"the answer's header exceeds {MAX_HEADER_BYTES} bytes"))
        if not self.is_reusable:
            self.close()
        elif self._exchange is not None and exchange.has_header and not exchange.is_reading_body:
            exchange.is_reading_body = True
            exchange.timer.cancel()
            exchange.timer = self._loop.call_later(self._limits.body_s, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the protocol's signature
        self.is_reusable = False
        if self._exchange is not None:
            self._end(self._exchange, ConnectionEnded(is_untouched=not self._exchange.header))
        del self._parser  # it refers to this object

    # what the parser calls

    def on_message_begin(self) -> None:
        if self._exchange is None or self._exchange.has_header:
            self.is_reusable = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.has_header:
            lowered = name.lower()
            if lowered == b"retry-after":
                exchange.retry_after = value.decode("latin-1")
            elif lowered == b"location":
                exchange.location = value.decode("latin-1")
            elif lowered in _CACHING:
                field, text = lowered.decode(), value.decode("latin-1")
                before = exchange.caching.get(field)
                exchange.caching[field] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.has_header:
            return
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            exchange.retry_after, exchange.location = None, ""
            exchange.caching.clear()
            return  # an interim answer; the final one follows (RFC 9110, 15.2)
        exchange.status = status
        exchange.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, chunk: bytes) -> None:
        exchange = self._exchange
        if exchange is None or not exchange.has_header:
            return
        exchange.body += chunk[: exchange.body_room]
        if len(chunk) > exchange.body_room:
            self.is_reusable = False
            self._finish(exchange)
        exchange.body_room -= len(chunk)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or not exchange.has_header:
            return
        # HTTP/1.0 and `Connection: close` end the connection with the answer
        self.is_reusable = self.is_reusable and exchange.keeps_alive
        self._finish(exchange)

    def _expire(self) -> None:
        exchange = self._exchange
        self.close()
        if exchange is not None:
            self._end(exchange, TimeoutError())

    def _end(self, exchange: "_Exchange", error: Exception) -> None:
        """Ends an exchange that broke: the status stands if its line was complete, else `error` is raised."""
        self.is_reusable = False
        if not exchange.has_header:
            exchange.status = _final_status(exchange.header)
        if exchange.status:
            self._finish(exchange)
            return
        self._exchange = None
        if not exchange.answer.done():
            exchange.answer.set_exception(error)

    def _finish(self, exchange: "_Exchange") -> None:
        self._exchange = None
        if not exchange.answer.done():
            exchange.answer.set_result(
                HttpAnswer(
                    exchange.status,
                    exchange.retry_after,
                    exchange.caching.get("date"),
                    bytes(exchange.body),
                    exchange.caching,
                    exchange.location,
                )
            )


class _Exchange:
    """What has arrived of one answer."""

    __slots__ = (
        "answer",
        "body",
        "body_room",
        "caching",
        "header",
        "is_reading_body",
        "keeps_alive",
        "location",
        "retry_after",
        "status",
        "timer",
    )

    def __init__(
        self, answer: "asyncio.Future[HttpAnswer]", timer: asyncio.TimerHandle, body_room: int
    ) -> None:
        self.answer = answer
        self.timer = timer
        self.is_reading_body = False
        self.header = b""
        self.keeps_alive = False
        self.status = 0
        self.retry_after: str | None = None
        self.location = ""
        self.caching: dict[str, str] = {}
        self.body = bytearray()
        self.body_room = body_room

    @property
    def has_header(self) -> bool:
        """Whether the header of the final answer is complete."""
        return self.status > 0


def _final_status(header: bytes) -> int:
    """The status of the last complete status line, interim ones passed over; 0 if there is none."""
    position = 0
    while line := _STATUS_LINE.match(header, position):
        status = int(line[1])
        if status >= 200 or status == 101:
            return status
        end = _HEADER_END.search(header, line.end() - 2)
        if end is None:
            return 0
        position = end.end()
    return 0
