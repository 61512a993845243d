"""Keeps web pages of others away from a broker without access control that listens on loopback.

A browser on the same machine reaches it too, and runs what any web site sends it. A page whose name was bound
to 127.0.0.1 (DNS rebinding) asks with its own name in `Host`; a page that sends a request across sites has
its own `Origin`. Both are refused before anything else is looked at.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.failures import failure
from broker.api.media import FHIR_JSON
from broker.errors import Forbidden, Issue
from broker.settings.consistency import is_loopback


class LocalRequests:
    """Passes a request or websocket on if it is for a loopback name or one of `hosts`, and if its `Origin`,
    where it has one, is the broker's own or one of `origins`.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(Headers(scope=scope)) if scope["type"] in {"http", "websocket"} else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "origin not allowed"})
        else:
            refusal = failure(Forbidden(Issue("forbidden", problem)))
            await Response(refusal.body, refusal.status, media_type=FHIR_JSON)(scope, receive, send)

    def _problem(self, headers: Headers) -> str:
        """Why the request is refused; '' if it is not."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if not all(self._is_own(f"//{host}") for host in hosts):
            return (
                "A broker without access control answers requests for this machine only, and Host names "
                "another one. Use 127.0.0.1, or set BROKER_BASE_URL to the URL that clients use."
            )
        if not all(
            origin in self._origins or "*" in self._origins or self._is_own(origin) for origin in origins
        ):
            return (
                "A broker without access control answers no requests of web pages of others. Name their "
                "origin in BROKER_CORS_ORIGINS if you trust it."
            )
        return ""

    def _is_own(self, url: str) -> bool:
        try:
            name = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return name in self._hosts or is_loopback(name) or name.endswith(".localhost")
