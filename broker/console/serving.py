"""Takes a request to the row of its page: session, access check, CSRF token, handler, audit entry, template.

`PageServer.endpoint` is the only way to a handler, so there is none around the access check. As at the API,
an answer leaves after its audit entry is durable.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from broker.console.cookies import Cookies
from broker.console.failures import failure_view
from broker.console.forms import check_csrf, check_origin, read_form
from broker.console.headers import NO_STORE, SECURITY_HEADERS
from broker.console.page import Audited, Download, Events, Page, PageRequest, SeeOther, View
from broker.console.rendering import Templates, Visit
from broker.console.sessions import NOBODY, Session, Sessions
from broker.errors import BrokerError, Forbidden, Issue, RequestError, StoreUnavailable, Unauthenticated
from broker.model.access import authorize
from broker.model.audit import AuditAction, AuditEntity, AuditEntry, AuditOutcome
from broker.model.change import Tenant
from broker.services.client_limits import ClientLimits
from broker.tasks import sleep_unless

_PARTIAL = 500
"""The number of resources that one audit entry names; more follow in entries of their own."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the server of pages uses. `record` writes an audit entry; `draining` is set when the process
    stops; `origin` is that of the broker's URL.
    """

    sessions: Sessions
    cookies: Cookies
    templates: Templates
    limits: ClientLimits
    record: Callable[[Tenant, AuditEntry], Awaitable[None]]
    draining: asyncio.Event
    origin: str


class PageServer:
    """One a process."""

    def __init__(self, parts: Serving) -> None:
        self._parts = parts

    def endpoint(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a row."""

        async def endpoint(request: Request) -> Response:
            session = NOBODY
            try:
                session = await self._parts.sessions.of(request)
                return await self._answer(page, request, session)
            except Unauthenticated:
                return self._to_login(request)
            except Exception as error:  # noqa: BLE001 the person gets a page, the log the reason
                return self.page(failure_view(error, request.url.path), request, session)

        return endpoint

    def page(self, view: View, request: Request, session: Session) -> Response:
        """The response with a view, and the notice of the action before it."""
        notice = self._parts.cookies.read_notice(request)
        text = self._parts.templates.render(view, self._visit(request, session, notice))
        response = HTMLResponse(text, view.status, headers={**SECURITY_HEADERS, **NO_STORE})
        if session.secret:
            self._parts.sessions.keep(response, session)
        if notice:
            self._parts.cookies.remove(response, "notice")
        return response

    def redirect(self, path: str) -> Response:
        """Sends the browser to a path of the console."""
        headers = {**SECURITY_HEADERS, **NO_STORE}
        return RedirectResponse(self._parts.templates.url(path), 303, headers=headers)

    async def _answer(self, page: Page, request: Request, session: Session) -> Response:
        asked = PageRequest(
            session.principal, request.path_params, request.query_params, {}, address_of(request)
        )
        try:
            authorize(asked.principal, page.access)
            self._parts.limits.admit(asked.principal)
            if page.method == "POST":
                check_origin(request, self._parts.origin)
                fields = await read_form(request)
                check_csrf(fields, session.secret)
                asked = PageRequest(asked.principal, asked.params, asked.query, fields, asked.address)
            answer = await page.handler(asked)
        except Unauthenticated:
            raise
        except BrokerError as error:
            await self._record_failure(page, asked, error)
            raise
        await self._record(page, asked, AuditOutcome.SUCCESS, answer.detail, answer.accessed)
        match answer:
            case View():
                return self.page(answer, request, session)
            case SeeOther():
                response = self.redirect(answer.path)
                if answer.notice:
                    self._parts.cookies.write_notice(response, answer.notice)
                return response
            case Download():
                name = quote(answer.filename)
                headers = {**SECURITY_HEADERS, **NO_STORE}
                headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
                return Response(answer.content, headers=headers, media_type=answer.media_type)
            case Events():
                self._parts.limits.check_connection(asked.principal.client)
                headers = {**SECURITY_HEADERS, **NO_STORE, "X-Accel-Buffering": "no"}
                chunks = self._chunks(answer, request, session)
                return StreamingResponse(chunks, headers=headers, media_type="text/event-stream")

    async def _chunks(self, events: Events, request: Request, session: Session) -> AsyncIterator[bytes]:
        """Views that changed, until the session ends, the browser leaves or the process stops."""
        visit, last = self._visit(request, session, ""), ""
        with (
            self._parts.limits.connection(session.principal.client),
            contextlib.suppress(StoreUnavailable),  # the browser connects again
        ):
            yield b": connected\n\n"
            while await self._parts.sessions.still_holds(session):
                text = self._parts.templates.render(await events.compose(), visit)
                lines = "\n".join(f"data: {line}" for line in text.splitlines())
                yield f"{lines}\n\n".encode() if text != last else b":\n\n"
                last = text
                if await sleep_unless(self._parts.draining, events.every_s):
                    return

    def _visit(self, request: Request, session: Session, notice: str) -> Visit:
        is_logged_in = self._parts.sessions.has_logins and bool(session.secret)
        path = path_within(request)
        return Visit(session.principal, session.csrf, path, notice, can_log_out=is_logged_in)

    def _to_login(self, request: Request) -> Response:
        """The login page, which leads back to a page that was asked for."""
        is_script = "hx-request" in request.headers  # htmx asks for a part of a page
        if request.method != "GET" or is_script:
            error = Unauthenticated(Issue("login", "Your login has ended. Log in, and do it again."))
            return self.page(failure_view(error, request.url.path), request, NOBODY)
        return self.redirect(f"/login?next={quote(path_within(request), safe='')}")

    async def _record_failure(self, page: Page, asked: PageRequest, error: BrokerError) -> None:
        if isinstance(error, StoreUnavailable):
            return  # nothing was done, and the store that would take the entry does not answer
        if isinstance(page.audit, Audited) or isinstance(error, Forbidden):
            code = error.issues[0].code if isinstance(error, RequestError) else type(error).__name__
            await self._record(page, asked, AuditOutcome.MINOR_FAILURE, code, ())

    async def _record(
        self,
        page: Page,
        asked: PageRequest,
        outcome: AuditOutcome,
        detail: str,
        accessed: Sequence[AuditEntity],
    ) -> None:
        if not isinstance(page.audit, Audited) and outcome is AuditOutcome.SUCCESS:
            return
        action = page.audit.action if isinstance(page.audit, Audited) else AuditAction.READ
        detail = f"console {page.path} {detail}".strip()
        entry = AuditEntry(action, outcome, asked.principal.client_id, asked.address, detail)
        for start in range(0, max(1, len(accessed)), _PARTIAL):
            part = tuple(accessed[start : start + _PARTIAL])
            await self._parts.record(asked.principal.tenant, entry._replace(entities=part))


def address_of(request: Request) -> str:
    """The network address of the browser."""
    return request.client.host if request.client else ""


def path_within(request: Request) -> str:
    """The path of a request below that of the console."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")) or "/"
