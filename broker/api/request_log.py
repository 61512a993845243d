"""Gives every request its id, which stands in the response and on each log line of the request, and logs
requests that are refused.

It is the outermost ASGI application of a process, so that this holds for every answer: of the FHIR bases, of
health checks, of CORS, and of a path that does not exist. The composition root calls it.
"""

import re
from secrets import token_hex

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_NOT_REFUSED = frozenset({"/readyz"})
"""A 503 of the readiness probe is its result."""
_log = structlog.get_logger(__name__)


class RequestLog:
    """Passes each request on. The line of a refused request has its method, path and status: no contents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        # not taken back at the end: the server runs each request in a task of its own, and what the server
        # itself logs about the request belongs to it too
        bind_contextvars(request_id=request_id)
        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] in _STARTS:
                has_started = True
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                _log_refusal(scope, message.get("status", 101))
            elif message["type"] == "websocket.close" and not has_started:
                _log_refusal(scope, 403)  # so the server answers a websocket that is closed before it is open
            await send(message)

        await self._app(scope, receive, send_with_id)


def _log_refusal(scope: Scope, status: int) -> None:
    if status >= 400 and scope["path"] not in _NOT_REFUSED:
        _log.info("request refused", method=scope.get("method", "GET"), path=scope["path"], status=status)


def _request_id(scope: Scope) -> str:
    """The client's X-Request-Id if it is a plain one, else a new id."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _PLAIN_ID.fullmatch(value):
            return str(value.decode())
    return token_hex(16)
