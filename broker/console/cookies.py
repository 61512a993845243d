"""The cookies of the console, and the CSRF tokens that belong to them.

A token is a keyed digest of the session's secret: no other site can know it, and nothing is stored for it.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

_NOTICE_S = 60


@dataclass(frozen=True, slots=True)
class Cookies:
    """`path` is the console's. With `is_secure` a browser sends them by https alone. It sends them to every
    port of a host, so their names have the `port` of the broker's URL, if that has one.
    """

    path: str
    is_secure: bool
    port: int | None = None

    def read(self, request: Request, name: str) -> str:
        """The value of a cookie, '' without one."""
        return request.cookies.get(self._full(name), "")

    def write(self, response: Response, name: str, value: str, lifetime_s: int | None = None) -> None:
        """Without a lifetime the cookie lasts as long as the browser runs."""
        response.set_cookie(
            self._full(name),
            value,
            max_age=lifetime_s,
            path=self.path,
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def remove(self, response: Response, name: str) -> None:
        response.delete_cookie(
            self._full(name), path=self.path, secure=self.is_secure, httponly=True, samesite="lax"
        )

    def read_notice(self, request: Request) -> str:
        """What the last action says, '' if nothing."""
        try:
            return base64.urlsafe_b64decode(self.read(request, "notice").encode()).decode()
        except ValueError:
            return ""

    def write_notice(self, response: Response, text: str) -> None:
        self.write(response, "notice", base64.urlsafe_b64encode(text.encode()).decode(), _NOTICE_S)

    def _full(self, name: str) -> str:
        # a browser accepts the prefix only from https
        prefix = "__Secure-" if self.is_secure else ""
        return f"{prefix}fhir-broker-{name}" + (f"-{self.port}" if self.port else "")


def csrf_token(secret: str) -> str:
    """The token of the forms of a session."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf_token(token: str, secret: str) -> bool:
    """Whether the token is that of the session; no token is without a session."""
    return bool(secret) and hmac.compare_digest(token.encode(), csrf_token(secret).encode())
