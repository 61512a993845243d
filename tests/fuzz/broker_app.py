"""The HTTP API of a broker in this process, over a store of its own: requests go in as ASGI messages.

Only the role `api` runs: nothing is matched or delivered. The law of a request from outside: the status is
below 500, and a body is a JSON object.
"""

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.types import ASGIApp

from broker.app import Role, running
from broker.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
_REQUEST_S = 60
"""The wall-clock limit of a request that waits instead of computing."""


class Answer(NamedTuple):
    """The response to one request."""

    status: int
    body: bytes


class BrokerApp:
    """Starts at the first request and runs until the process ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        self._app: ASGIApp | None = None

    def request(
        self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Answer:
        """The response to one request; raises `AssertionError` for one that breaks the law."""
        answer = self._loop.run_until_complete(self._request(method, target, headers, body))
        assert answer.status < 500, f"{method} {target}: {answer.status} {answer.body[:500]!r}"
        if answer.body and re.match(r"/+r(4b?|5)(/|\?|$)", target):
            assert isinstance(json.loads(answer.body), dict)
        return answer

    async def _request(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        app = self._app
        if app is None:
            app = self._app = await self._start()
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": query.encode("utf-8", "replace"),
            "headers": [(name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                        for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }  # fmt: skip
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(_REQUEST_S):
            await app(scope, receive, send)
        body_parts = [message.get("body", b"") for message in sent if message["type"] == "http.response.body"]
        status = next(message["status"] for message in sent if message["type"] == "http.response.start")
        is_stream = any(b"event-stream" in value for message in sent[:1] for _, value in message["headers"])
        return Answer(status, b"" if is_stream else b"".join(body_parts))

    async def _start(self) -> ASGIApp:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-store-"))
        settings = Settings.from_environment(
            {
                "BROKER_DATA_DIR": folder,
                "BROKER_PORT": "0",
                "BROKER_TOPICS_DIR": str(REPOSITORY / "topics"),
                "BROKER_PARTITIONS": "4",
                "BROKER_SHARDS": "4",
                "BROKER_DURABILITY": "everysec",
                "BROKER_EGRESS_ALLOW": "127.0.0.0/8",
                "PATH": os.environ.get("PATH", ""),
            }
        )
        broker = await self._stack.enter_async_context(running(settings, frozenset({Role.API})))
        return broker.app

    def stop(self) -> None:
        """Stops the broker and its store; the next request starts them again."""
        if self._app is not None:
            self._app = None
            self._loop.run_until_complete(self._stack.aclose())


APP = BrokerApp()
"""The broker of this process: all targets that send requests share it."""
