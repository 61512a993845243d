"""An ASGI middleware: notifications to one path go to a `Receiver`, all other requests to the application.

app = NotificationMiddleware(app, receiver, path="/notifications")
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from broker.receiver.receiver import Answer, Receiver

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BYTES = 64 * 1024 * 1024


class NotificationMiddleware:
    """Answers requests to `path` itself. A body over `max_bytes` is answered 413 and not read further.

    It serves Starlette, FastAPI, Django and whatever else speaks ASGI; below a mount, `path` counts from
    there. For the channel `message`, `path` ends with `/$process-message`, which the endpoint of the
    Subscription does not have.
    """

    def __init__(
        self,
        application: Application,
        receiver: Receiver,
        *,
        path: str = "/notifications",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._application = application
        self._receiver = receiver
        self._path = path
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _path(scope) != self._path:
            await self._application(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _answer(send, Answer(405, "notifications are sent by POST"), [(b"allow", b"POST")])
            return
        body = await self._body(receive)
        if isinstance(body, bytes):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            await _answer(send, await self._receiver.receive(headers, body))
        elif body is not None:
            await _answer(send, body)

    async def _body(self, receive: Receive) -> bytes | Answer | None:
        """None if the broker hung up before its end."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                return Answer(413, f"the body has more than {self._max_bytes} bytes")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _answer(send: Send, answer: Answer, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    text = answer.reason.encode()
    own = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": [*own, *(headers or [])]})
    await send({"type": "http.response.body", "body": text})
