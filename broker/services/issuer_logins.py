"""Logs people in at an external issuer: the authorization code flow of OpenID Connect with PKCE (RFC 6749,
7636, 9207).

`begin` gives the URL to send the browser to, `finish` the principal of who comes back with a code. Documents
and tokens are requested through the egress guard, and redirects are not followed. Whatever goes wrong,
`LoginRefused` says it in words for the person, without what the issuer sent.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit

import structlog

from broker.egress.documents import Document, NotFetched
from broker.egress.http import HttpFailure, HttpPost
from broker.errors import KeysUnavailable, Unauthenticated
from broker.model.principal import Principal
from broker.security.issuer_tokens import IssuerTokens
from broker.security.issuers import Issuer, IssuerFile

TIMEOUT_S = 10.0
_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_log = structlog.get_logger(__name__)


class LoginRefused(Exception):  # noqa: N818 an expected result
    """Nobody is logged in. `code` is for the audit trail, the text for the person."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class PendingLogin(NamedTuple):
    """What the browser keeps between `begin` and `finish`, and what the issuer must send back or sign."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class BrokerAtIssuer:
    """How the issuer knows this broker: a public client, or one with a secret in a file."""

    issuer: str
    client_id: str
    redirect_uri: str
    scope: str
    secret_file: Path | None = None


class IssuerLogins:
    """One a process. `post` must not repeat a request by itself: a code is used once."""

    def __init__(
        self,
        registered: BrokerAtIssuer,
        issuers: IssuerFile,
        tokens: IssuerTokens,
        get: Callable[[str], Awaitable[Document]],
        post: HttpPost,
    ) -> None:
        self._registered = registered
        self._issuers = issuers
        self._tokens = tokens
        self._get = get
        self._post = post

    @property
    def name(self) -> str:
        """The name of the issuer, for people."""
        return self._registered.issuer

    async def begin(self) -> tuple[str, PendingLogin]:
        """The URL of the issuer's login page, and what to keep. Raises `LoginRefused`."""
        _, endpoint = await self._discover("authorization_endpoint")
        pending = PendingLogin(*(secrets.token_urlsafe(32) for _ in range(3)))
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._registered.client_id,
                "redirect_uri": self._registered.redirect_uri,
                "scope": self._registered.scope,
                "state": pending.state,
                "nonce": pending.nonce,
                "code_challenge": _challenge(pending.verifier),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}", pending

    async def finish(self, pending: PendingLogin, state: str, code: str, sender: str) -> Principal:
        """The person of the code. `sender` is the issuer that the answer names, or ''. Raises
        `LoginRefused`.
        """
        if not hmac.compare_digest(state.encode(), pending.state.encode()):
            raise LoginRefused("state", "The answer belongs to another login. Log in again.")
        issuer, endpoint = await self._discover("token_endpoint")
        if sender not in {"", issuer.url}:
            raise LoginRefused("issuer", "The answer is of another issuer. Log in again.")
        id_token = await self._redeem(endpoint, code, pending.verifier)
        try:
            return await self._tokens.authenticate_person(
                id_token, issuer, self._registered.client_id, pending.nonce
            )
        except Unauthenticated as error:
            _log.warning("ID token not accepted", issuer=issuer.name, reason=repr(error.__cause__))
            text = (
                f"What {issuer.name} says about you is not valid here. Ask the administrator of the broker."
            )
            raise LoginRefused("ID token", text) from error
        except KeysUnavailable as error:
            raise LoginRefused("keys", f"{error}") from error

    async def _redeem(self, endpoint: str, code: str, verifier: str) -> str:
        """The ID token for the code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._registered.redirect_uri,
            "code_verifier": verifier,
            "client_id": self._registered.client_id,
        }
        headers: tuple[tuple[str, str], ...] = ()
        if self._registered.secret_file is not None:
            headers = (("Authorization", await self._basic(self._registered.secret_file)),)
        answer = await self._post(
            endpoint,
            headers=(_FORM, ("Accept", "application/json")),
            attempt_headers=headers,
            body=urlencode(form).encode(),
            timeout_s=TIMEOUT_S,
        )
        if isinstance(answer, HttpFailure):
            raise self._unavailable(answer.text)
        if answer.status != 200:
            _log.warning("authorization code refused", issuer=self.name, status=answer.status)
            text = f"{self.name} does not accept the login any more. Log in again."
            raise LoginRefused("code", text)
        token = _member(answer.body, "id_token")
        if not token:
            raise self._unavailable("its answer has no id_token")
        return token

    async def _basic(self, file: Path) -> str:
        """The client's credentials (RFC 6749, 2.3.1)."""
        try:
            secret = (await asyncio.to_thread(file.read_text)).strip()
        except OSError as error:
            _log.error("secret of the console not readable", file=str(file), error=str(error))
            text = "The broker can't read its secret for the login; its log says why."
            raise LoginRefused("secret", text) from error
        pair = f"{quote_plus(self._registered.client_id)}:{quote_plus(secret)}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    async def _discover(self, endpoint: str) -> tuple[Issuer, str]:
        """The issuer, and the URL of an endpoint by its discovery document."""
        issuer = self._issuers.named(self.name)
        if issuer is None:
            text = (
                f"BROKER_ISSUERS has no issuer {self.name!r} any more. Ask the administrator of the broker."
            )
            raise LoginRefused("issuer", text)
        try:
            document = await self._get(f"{issuer.url.rstrip('/')}/.well-known/openid-configuration")
        except NotFetched as error:
            raise self._unavailable(f"no discovery document: {error}") from error
        if _member(document.body, "issuer") != issuer.url:
            raise self._unavailable("its discovery document is that of another issuer")
        url = _member(document.body, endpoint)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise self._unavailable(f"its discovery document has no {endpoint}")
        return issuer, url

    def _unavailable(self, reason: str) -> LoginRefused:
        _log.warning("login at the issuer failed", issuer=self.name, reason=reason)
        text = f"{self.name} can't log you in at the moment; the log of the broker says why. Try again later."
        return LoginRefused("issuer unavailable", text)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _member(text: bytes, name: str) -> str:
    """The string that a JSON object has as a member, '' where it has none."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""
