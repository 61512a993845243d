"""Builds the console at the first request for it: a start waits for none of its libraries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.routes import HttpRoute, mounted
from broker.app.access import key_sets_of
from broker.app.channels import egress_client
from broker.app.parts import Parts, milliseconds
from broker.app.readings import Readings
from broker.egress.client import OF_TOKEN_ENDPOINTS
from broker.ingest.intake import Intake
from broker.model.access import Access
from broker.security.issuer_tokens import IssuerTokens
from broker.services.application import ApplicationServices
from broker.services.console_logins import ConsoleLogins
from broker.services.health import Health
from broker.services.issuer_logins import BrokerAtIssuer, IssuerLogins
from broker.services.login_failures import LoginFailures
from broker.store.console_sessions import LoginLinks, StoredSessions

PATH = "/console"


class DeferredApp:
    """The application that `build` makes in a thread at the first request."""

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self._build = build
        self._app: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None or (self._app.done() and self._app.exception() is not None):
            self._app = asyncio.create_task(asyncio.to_thread(self._build), name="console")
        app = await asyncio.shield(self._app)
        await app(scope, receive, send)


@contextlib.asynccontextmanager
async def open_issuer_logins(parts: Parts) -> AsyncIterator[IssuerLogins | None]:
    """Logs people in at the issuer of the settings until the way out; None without one. Its requests are
    never sent a second time: a code is used once.
    """
    settings = parts.settings
    if not settings.console_issuer:
        yield None
        return
    registered = BrokerAtIssuer(
        settings.console_issuer,
        settings.console_client_id,
        f"{settings.base_url}{PATH}/login/callback",
        settings.console_scope,
        settings.console_client_secret,
    )
    tokens = IssuerTokens(parts.issuers, key_sets_of(parts.documents), parts.clock)
    async with egress_client(settings, keep_alive_s=0, limits=OF_TOKEN_ENDPOINTS) as egress:
        yield IssuerLogins(registered, parts.issuers, tokens, parts.documents.get, egress.post)


def build_logins(parts: Parts, failures: LoginFailures) -> ConsoleLogins | None:
    """Who may log in; None without access control."""
    if parts.settings.auth == "off":
        return None
    return ConsoleLogins(
        StoredSessions(parts.store),
        LoginLinks(parts.store),
        parts.issuers,
        parts.audit_journal,
        failures,
        milliseconds(parts.settings.console_session),
    )


def build_console_rows(
    parts: Parts,
    services: ApplicationServices,
    intake: Intake,
    readings: Readings,
    health: Health,
    failures: LoginFailures,
    issuer: IssuerLogins | None,
) -> Sequence[HttpRoute]:
    """The rows of the console, none if the settings want none. They are public: it has logins and an access
    check of its own.
    """
    if not parts.settings.has_console:
        return ()
    app = DeferredApp(partial(_build, parts, services, intake, readings, health, failures, issuer))
    return (HttpRoute(PATH, Route, _to_home, Access.PUBLIC), mounted(PATH, app, Access.PUBLIC))


async def _to_home(_request: Request) -> Response:
    return RedirectResponse(f"{PATH[1:]}/")  # relative, for a broker behind a path of a proxy


def _build(
    parts: Parts,
    services: ApplicationServices,
    intake: Intake,
    readings: Readings,
    health: Health,
    failures: LoginFailures,
    issuer: IssuerLogins | None,
) -> ASGIApp:
    # templates and their library are for the console alone
    from broker.app.console_pages import build_console_services  # noqa: PLC0415
    from broker.console.application import ConsoleParts, build_console  # noqa: PLC0415

    return build_console(
        ConsoleParts(
            build_console_services(parts, services, intake, readings, health),
            build_logins(parts, failures),
            issuer,
            parts.client_limits,
            parts.audit_journal.record,
            parts.draining,
            parts.settings.base_url,
        )
    )
