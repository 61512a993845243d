"""Who uses the console: the session of a cookie, or everyone where the broker has no access control."""

import secrets
from typing import NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response

from broker.console.cookies import Cookies, csrf_token
from broker.model.principal import ANONYMOUS, OPEN_PRINCIPAL, Principal
from broker.services.console_logins import ConsoleLogins

COOKIE = "console"


class Session(NamedTuple):
    """The principal, and the secret that its cookie has: '' for nobody."""

    principal: Principal
    secret: str

    @property
    def csrf(self) -> str:
        """The token of its forms."""
        return csrf_token(self.secret) if self.secret else ""


NOBODY = Session(ANONYMOUS, "")


class Sessions(Protocol):
    """Finds the session of a request."""

    @property
    def has_logins(self) -> bool:
        """Whether people log in and out."""

    async def of(self, request: Request) -> Session:
        """The session; `NOBODY` without a login. Raises `StoreUnavailable`."""

    async def still_holds(self, session: Session) -> bool:
        """Whether it has not ended since. Raises `StoreUnavailable`."""

    def keep(self, response: Response, session: Session) -> None:
        """Sets the cookie of a session that has just begun."""


class StoredLogins:
    """With access control: who logged in."""

    has_logins = True

    def __init__(self, logins: ConsoleLogins, cookies: Cookies) -> None:
        self._logins = logins
        self._cookies = cookies

    async def of(self, request: Request) -> Session:
        secret = self._cookies.read(request, COOKIE)
        principal = await self._logins.find(secret) if secret else None
        return NOBODY if principal is None else Session(principal, secret)

    async def still_holds(self, session: Session) -> bool:
        return await self._logins.find(session.secret) == session.principal

    def keep(self, response: Response, session: Session) -> None:
        """A login sets its cookie itself."""


class OpenConsole:
    """Without access control everyone is the built-in principal, as at the API. The cookie only keeps other
    web sites from sending forms.
    """

    has_logins = False

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    async def of(self, request: Request) -> Session:
        return Session(OPEN_PRINCIPAL, self._cookies.read(request, COOKIE) or secrets.token_urlsafe(32))

    async def still_holds(self, session: Session) -> bool:
        return session.principal is OPEN_PRINCIPAL

    def keep(self, response: Response, session: Session) -> None:
        self._cookies.write(response, COOKIE, session.secret)
