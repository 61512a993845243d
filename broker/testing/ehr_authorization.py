"""The authorization server of a simulated EHR: SMART Backend Services, with JWKS or a JWKS URL for each
client.

It reads tokens with PyJWT by itself and shares no code with the broker's server and client, so that tests can
check both with it. Tokens are opaque and live in memory.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from broker.clock import Clock
from broker.testing.ehr_outcomes import EhrRefusal

ALGORITHMS = ("RS384", "ES384")
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_ASSERTION_S = 300
_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]+)\.(read|write|\*|c?r?u?d?s?)")
_OLD_LETTERS = {"read": "rs", "write": "cud", "*": "cruds"}


class TokenRefused(Exception):  # noqa: N818 named after the condition
    """A token request is refused; `code` is that of RFC 6749."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class EhrClient:
    """A registered client: its scopes, and its public keys or the URL of these."""

    id: str
    scopes: frozenset[str]
    jwks: Mapping[str, Any] | None = None
    jwks_url: str = ""

    def allows(self, scope: str) -> bool:
        """Whether the scopes of the client permit everything that `scope` permits."""
        kind, letters = _letters(scope)
        return bool(letters) and all(
            any(_permits(own, kind, letter) for own in self.scopes) for letter in letters
        )


@dataclass(frozen=True, slots=True)
class _Token:
    client: str
    scopes: frozenset[str]
    ends_s: float


class EhrAuthorization:
    """The clients and tokens of one EHR. `lifetime_s` may be set at any time, for the tokens from then on."""

    def __init__(self, clock: Clock) -> None:
        self.lifetime_s = 300
        self._clock = clock
        self._clients: dict[str, EhrClient] = {}
        self._tokens: dict[str, _Token] = {}
        self._used: set[tuple[str, str]] = set()

    def register(
        self, id: str, scope: str, *, jwks: Mapping[str, Any] | None = None, jwks_url: str = ""
    ) -> None:
        """A client with its public keys, or with the URL of them; again to change it."""
        self._clients[id] = EhrClient(id, frozenset(scope.split()), jwks, jwks_url)

    def revoke_tokens(self) -> None:
        """No token issued so far is valid any more."""
        self._tokens.clear()

    async def issue(self, form: Mapping[str, str], token_url: str) -> dict[str, Any]:
        """The JSON of a granted request. Raises `TokenRefused`."""
        if form.get("grant_type") != "client_credentials":
            raise TokenRefused("unsupported_grant_type", "grant_type has to be client_credentials")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise TokenRefused("invalid_request", f"client_assertion_type has to be {_ASSERTION_TYPE}")
        client = await self._client_of(form.get("client_assertion", ""), token_url)
        asked = form.get("scope", "").split()
        granted = frozenset(scope for scope in asked if _SCOPE.fullmatch(scope) and client.allows(scope))
        if not granted:
            raise TokenRefused("invalid_scope", "none of the scopes is granted to the client")
        token = secrets.token_urlsafe(32)
        self._tokens[token] = _Token(client.id, granted, self._now_s() + self.lifetime_s)
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self.lifetime_s,
            "scope": " ".join(scope for scope in asked if scope in granted),
        }

    def check(self, header: str, type: str, letter: str) -> str:
        """The id of the client that may do this: `letter` is one of `cruds`. Raises `EhrRefusal`."""
        scheme, _, text = header.partition(" ")
        token = self._tokens.get(text) if scheme.lower() == "bearer" else None
        if token is None or token.ends_s <= self._now_s():
            raise EhrRefusal(401, "login", "There is no access token, or it is not valid.")
        if not any(_permits(scope, type, letter) for scope in token.scopes):
            raise EhrRefusal(403, "forbidden", f"The token has no scope such as system/{type}.{letter}.")
        return token.client

    async def _client_of(self, assertion: str, token_url: str) -> EhrClient:
        try:
            header = jwt.get_unverified_header(assertion)
            unverified = jwt.decode(assertion, options={"verify_signature": False})
            client = self._clients[unverified["iss"]]
            key = await self._key(client, header)
            claims = jwt.decode(
                assertion,
                key,
                algorithms=list(ALGORITHMS),
                audience=token_url,
                options={"require": ["iss", "sub", "aud", "exp", "jti"]},
            )
        except (jwt.PyJWTError, KeyError, TypeError) as error:
            raise TokenRefused("invalid_client", f"the assertion is not valid ({error})") from error
        if claims["sub"] != client.id:
            raise TokenRefused("invalid_client", "iss and sub differ")
        if claims["exp"] > self._now_s() + _MAX_ASSERTION_S:
            raise TokenRefused("invalid_client", f"the assertion is valid for more than {_MAX_ASSERTION_S} s")
        use = (client.id, str(claims["jti"]))
        if use in self._used:
            raise TokenRefused("invalid_client", "the assertion was used before")
        self._used.add(use)
        return client

    @staticmethod
    async def _key(client: EhrClient, header: Mapping[str, Any]) -> jwt.PyJWK:
        """The key of the header's kid; those of a URL are fetched for each request."""
        jwks = client.jwks
        if jwks is None:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
                try:
                    response = await http.get(client.jwks_url)
                    jwks = response.json()
                except (httpx.HTTPError, ValueError) as error:
                    raise TokenRefused("invalid_client", f"{client.jwks_url} gives no keys") from error
        for key in jwks["keys"]:
            if key.get("kid") == header["kid"]:
                return jwt.PyJWK(key, algorithm=header["alg"])
        raise TokenRefused("invalid_client", "none of the client's keys has the kid of the header")

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1000


def _letters(scope: str) -> tuple[str, str]:
    """The type and the letters of a scope, which has the form of SMART 1 or 2."""
    match = _SCOPE.fullmatch(scope)
    if match is None:
        return "", ""
    return match[1], _OLD_LETTERS.get(match[2], match[2])


def _permits(scope: str, type: str, letter: str) -> bool:
    permitted, letters = _letters(scope)
    return permitted in {"*", type} and letter in letters
