"""Builds the ASGI application of the console, to be mounted at `/console`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.console.cookies import Cookies
from broker.console.failures import status_view
from broker.console.login import LoginPages
from broker.console.rendering import Templates
from broker.console.services import ConsoleServices
from broker.console.serving import PageServer, Serving
from broker.console.sessions import NOBODY, OpenConsole, StoredLogins
from broker.console.static_files import StaticFiles
from broker.console.table import pages
from broker.model.audit import AuditEntry
from broker.model.change import Tenant
from broker.services.client_limits import ClientLimits
from broker.services.console_logins import ConsoleLogins
from broker.services.issuer_logins import IssuerLogins

PATH = "/console"
PUBLIC_PATHS = frozenset(
    {"/static/{name:path}", "/login", "/login/link", "/login/start", "/login/callback", "/logout"}
)
"""What is no page of the table: it needs no principal and shows no data."""


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the composition root gives. `logins` is None without access control, `issuer` without one."""

    services: ConsoleServices
    logins: ConsoleLogins | None
    issuer: IssuerLogins | None
    limits: ClientLimits
    record: Callable[[Tenant, AuditEntry], Awaitable[None]]
    draining: asyncio.Event
    base_url: str


def build_console(parts: ConsoleParts) -> Starlette:
    """Reads the templates and files, so it takes a moment: called once, in a thread."""
    own = urlsplit(parts.base_url)
    base, origin = f"{own.path.rstrip('/')}{PATH}", f"{own.scheme}://{own.netloc}"
    cookies = Cookies(base, is_secure=own.scheme == "https", port=own.port)
    static = StaticFiles()
    table = pages(parts.services)
    navigation = [page for page in table if page.title]
    sessions = OpenConsole(cookies) if parts.logins is None else StoredLogins(parts.logins, cookies)
    server = PageServer(
        Serving(
            sessions,
            cookies,
            Templates(base, navigation, static),
            parts.limits,
            parts.record,
            parts.draining,
            origin,
        )
    )
    routes = [Route(page.path, server.endpoint(page), methods=[page.method]) for page in table]
    routes.append(Route("/static/{name:path}", static.serve))
    if parts.logins is not None:
        login = LoginPages(parts.logins, parts.issuer, cookies, server, origin)
        routes += [
            Route("/login", login.choose),
            Route("/login/link", login.confirm_link),
            Route("/login/link", login.use_link, methods=["POST"]),
            Route("/login/start", login.start),
            Route("/login/callback", login.finish),
            Route("/logout", login.log_out, methods=["POST"]),
        ]

    async def refuse(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        text = "Check the address, or start from the overview."
        try:
            session = await sessions.of(request)
        except Exception:  # noqa: BLE001 the page says nothing of the session
            session = NOBODY
        return server.page(status_view(code, text), request, session)

    return Starlette(routes=routes, exception_handlers={404: refuse, 405: refuse})
