"""Gives every request its id and its span, counts it, and logs those that are refused.

The id stands in the response and on each log line of the request, the trace id on the lines of a request that
has a trace. It is the outermost ASGI application of a process, so that this holds for every answer: of the
FHIR bases, of health checks, of CORS, and of a path that does not exist. The composition root calls it.
"""

import re
import time
from secrets import token_hex

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from broker.model.trace import parse_traceparent, trace_id
from broker.telemetry import current_request, tracing
from broker.telemetry.current_request import CurrentRequest
from broker.telemetry.http_metrics import count_request
from broker.telemetry.tracing import Span, SpanKind, Tracer

_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_REFUSED = frozenset({"/readyz"})
"""A 503 of the readiness probe is its result."""
_UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
"""What is asked every few seconds starts no trace."""
_log = structlog.get_logger(__name__)


class RequestLog:
    """Passes each request on. The line of a refused request has its method, path and status: no contents."""

    def __init__(self, app: ASGIApp, tracer: Tracer = tracing.OFF) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        request_id, incoming = _read_head(scope)
        span = self._start_span(scope, incoming)
        request = current_request.begin(span.traceparent)
        # not taken back at the end: the server runs each request in a task of its own, and what the server
        # itself logs about the request belongs to it too
        if span.traceparent:
            bind_contextvars(request_id=request_id, trace_id=trace_id(span.traceparent))
        else:
            bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", 101)
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                _log_refusal(scope, status)
                _count(scope, request, status, started_s)
            elif message["type"] == "websocket.close" and not status:
                status = 403
                _log_refusal(
                    scope, status
                )  # so the server answers a websocket that is closed before it is open
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if not status:
                status = 500  # which the server answers
                _count(scope, request, status, started_s)
            raise
        finally:
            _end(span, scope, request, status)

    def _start_span(self, scope: Scope, incoming: str) -> Span:
        if scope["path"] in _UNTRACED:
            return Span(incoming)
        return self._tracer.start("", SpanKind.SERVER, incoming)


def _end(span: Span, scope: Scope, request: CurrentRequest, status: int) -> None:
    if isinstance(span, tracing.RecordedSpan):
        method = _method(scope)
        span.name = f"{method} {request.route}"
        span.set("http.request.method", method)
        span.set("http.route", request.route)
        span.set("http.response.status_code", status)
        if status >= 500 or not status:
            span.fail(str(status or "no answer"))
    span.end()


def _count(scope: Scope, request: CurrentRequest, status: int, started_s: float) -> None:
    if scope["type"] == "http":
        count_request(_method(scope), request.route, status, time.perf_counter() - started_s)


def _method(scope: Scope) -> str:
    """The method as a label: a client may send any word."""
    method = str(scope.get("method", "GET"))
    return method if method in _METHODS else "other"


def _log_refusal(scope: Scope, status: int) -> None:
    if status >= 400 and scope["path"] not in _NOT_REFUSED:
        _log.info("request refused", method=scope.get("method", "GET"), path=scope["path"], status=status)


def _read_head(scope: Scope) -> tuple[str, str]:
    """The client's X-Request-Id if it is a plain one, else a new id; and its traceparent, or ''."""
    request_id = traceparent = ""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and not request_id and _PLAIN_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent":
            traceparent = parse_traceparent(value.decode("latin-1"))
    return request_id or token_hex(16), traceparent
