"""Keeps web pages of others away from a broker without access control that listens on loopback.

A browser on the same machine reaches it too, and runs what any web site sends it. A page whose name was bound
to 127.0.0.1 (DNS rebinding) asks with its own name in `Host`; a page that sends a request across sites has
its own `Origin`. Both are refused before anything else is looked at.
"""

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.failures import failure
from broker.api.media import FHIR_JSON
from broker.errors import Forbidden, Issue


class LocalRequests:
    """Passes a request or websocket on if `is_own` says so of the name in `Host`, and of that in `Origin`,
    where it has one that is none of `origins`. Names are in lower case.
    """

    def __init__(self, app: ASGIApp, is_own: Callable[[str], bool], origins: Collection[str]) -> None:
        self._app = app
        self._is_own_name = is_own
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
        return self._is_own_name(name)
