"""The login pages: by a one-time link of the local administrator, or at an external issuer.

They are public, and none of them shows data. A link is used by a POST, so that a program that looks at URLs
in advance does not use it up. Between the start and the end of a login at an issuer, a cookie keeps what has
to come back; it is removed whatever the result.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.console.cookies import Cookies
from broker.console.failures import failure_view
from broker.console.forms import check_csrf, check_origin, read_form
from broker.console.headers import NO_STORE, SECURITY_HEADERS
from broker.console.page import View
from broker.console.serving import PageServer, address_of
from broker.console.sessions import COOKIE, NOBODY
from broker.errors import BrokerError
from broker.services.console_logins import ConsoleLogins
from broker.services.issuer_logins import IssuerLogins, LoginRefused, PendingLogin

_PENDING = "login"
_PENDING_S = 600
_SEPARATOR = "~"
"""In no part that is joined by it but the path, which is the last."""


class LoginPages:
    """The endpoints. `issuer` is None where people log in by links alone."""

    def __init__(
        self,
        logins: ConsoleLogins,
        issuer: IssuerLogins | None,
        cookies: Cookies,
        pages: PageServer,
        origin: str,
    ) -> None:
        self._logins = logins
        self._issuer = issuer
        self._cookies = cookies
        self._pages = pages
        self._origin = origin

    async def choose(self, request: Request) -> Response:
        """`GET /login`: the ways to log in."""
        return self._choices(request)

    async def confirm_link(self, request: Request) -> Response:
        """`GET /login/link`: asks whether to use the link."""
        values = {"token": request.query_params.get("token", "")}
        return self._pages.page(View("login_link.html", values), request, NOBODY)

    async def use_link(self, request: Request) -> Response:
        """`POST /login/link`."""
        try:
            check_origin(request, self._origin)
            token = (await read_form(request)).get("token", [""])[0]
            secret = await self._logins.use_link(token, address_of(request))
        except BrokerError as error:
            return self._pages.page(failure_view(error, request.url.path), request, NOBODY)
        if secret is None:
            text = "The link is not valid any more: it works once, and for ten minutes. Make a new one."
            return self._choices(request, text, 403)
        return self._logged_in(secret, "/")

    async def start(self, request: Request) -> Response:
        """`GET /login/start`: sends the browser to the issuer."""
        if self._issuer is None:
            return self._pages.redirect("/login")
        try:
            url, pending = await self._issuer.begin()
        except LoginRefused as refused:
            return self._choices(request, str(refused), 503)
        response = RedirectResponse(url, 303, headers={**SECURITY_HEADERS, **NO_STORE})
        kept = _SEPARATOR.join([*pending, _local(request.query_params.get("next", ""))])
        self._cookies.write(response, _PENDING, kept, _PENDING_S)
        return response

    async def finish(self, request: Request) -> Response:
        """`GET /login/callback`: where the issuer sends the browser back to."""
        response = await self._finished(request)
        self._cookies.remove(response, _PENDING)
        return response

    async def _finished(self, request: Request) -> Response:
        answer = request.query_params
        *pending, path = (self._cookies.read(request, _PENDING) or _SEPARATOR * 3).split(_SEPARATOR, 3)
        try:
            if self._issuer is None or not pending[0]:
                text = "No login was started in this browser, or more than ten minutes ago. Log in again."
                raise LoginRefused("no login", text)  # noqa: TRY301 answered as every refusal
            if "error" in answer:
                text = f"{self._issuer.name} did not log you in. Log in again, or ask its administrator."
                raise LoginRefused("refused by the issuer", text)  # noqa: TRY301
            principal = await self._issuer.finish(
                PendingLogin(*pending),
                answer.get("state", ""),
                answer.get("code", ""),
                answer.get("iss", ""),
            )
            secret = await self._logins.log_in(principal, address_of(request), self._issuer.name)
        except LoginRefused as refused:
            await self._logins.refuse(address_of(request), f"console login: {refused.code}")
            return self._choices(request, str(refused), 403)
        except BrokerError as error:
            return self._pages.page(failure_view(error, request.url.path), request, NOBODY)
        return self._logged_in(secret, _local(path))

    async def log_out(self, request: Request) -> Response:
        """`POST /logout`: ends the session in all processes."""
        secret = self._cookies.read(request, COOKIE)
        try:
            check_origin(request, self._origin)
            check_csrf(await read_form(request), secret)
            principal = await self._logins.find(secret)
            if principal is not None:
                await self._logins.log_out(secret, principal, address_of(request))
        except BrokerError as error:
            return self._pages.page(failure_view(error, request.url.path), request, NOBODY)
        response = self._pages.redirect("/login")
        self._cookies.remove(response, COOKIE)
        self._cookies.write_notice(response, "You are logged out.")
        return response

    def _choices(self, request: Request, problem: str = "", status: int = 200) -> Response:
        values = {
            "issuer": None if self._issuer is None else self._issuer.name,
            "next": _local(request.query_params.get("next", "")),
            "problem": problem,
        }
        return self._pages.page(View("login.html", values, status), request, NOBODY)

    def _logged_in(self, secret: str, path: str) -> Response:
        response = self._pages.redirect(path)
        self._cookies.write(response, COOKIE, secret, self._logins.lifetime_ms // 1000)
        return response


def _local(path: str) -> str:
    """The path if it is one of the console, which a link from elsewhere may not leave."""
    is_local = path.startswith("/") and not path.startswith("//") and path.isprintable()
    return path if is_local and not set(path) & set(' \\;,"') else "/"
