"""Issues access tokens to clients, answers what they stand for, and revokes them.

The token endpoint calls `issue`; `TokenAuthenticator` turns the token of a request into its principal. A
token is looked up in the store at most every `CACHE_S`, so that what is revoked, and a client that is
disabled or changed, loses its access everywhere within that time.
"""

import time
from dataclasses import dataclass

from broker.clock import Clock
from broker.errors import OAuthError, Unauthenticated
from broker.model.access_token import LIFETIME_MS, AccessToken
from broker.model.principal import ANONYMOUS, Principal, PrincipalRole
from broker.model.scopes import covers, parse_scopes
from broker.recently_used import RecentlyUsed
from broker.security.client_assertion import AssertionVerifier
from broker.security.clients import Client, ClientRegistry
from broker.security.scope_grants import grant
from broker.store.access_tokens import AccessTokens

CACHE_S = 5.0
MAX_CACHED = 10_000
_INTROSPECT_ALL = frozenset({PrincipalRole.ADMIN, PrincipalRole.AUDITOR})


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token for its client: the secret, for how many seconds it is valid, and the granted scopes."""

    secret: str
    expires_in_s: int
    scope: str


class TokenAuthenticator:
    """Turns access tokens into principals. One a process."""

    def __init__(self, tokens: AccessTokens, clients: ClientRegistry, clock: Clock) -> None:
        self._tokens = tokens
        self._clients = clients
        self._clock = clock
        self._cache: RecentlyUsed[str, tuple[Principal, float]] = RecentlyUsed(MAX_CACHED, CACHE_S)

    async def authenticate(self, secret: str) -> Principal:
        """Raises `Unauthenticated` for a token that is not valid any more or never was."""
        cached = self._cache.get(secret)
        if cached is not None and time.monotonic() < cached[1]:
            return cached[0]
        found = await self._find(secret)
        if found is None:
            raise Unauthenticated(was_sent=True)
        token, client = found
        principal = Principal(client.client_id, client.tenant, parse_scopes(token.scope), client.roles)
        rest_s = (token.expires_ms - self._clock.now_ms()) / 1000
        self._cache.put(secret, (principal, time.monotonic() + min(CACHE_S, rest_s)))
        return principal

    async def find(self, secret: str) -> AccessToken | None:
        """What the token stands for; None unless it and the registration of its client hold."""
        found = await self._find(secret)
        return None if found is None else found[0]

    async def _find(self, secret: str) -> tuple[AccessToken, Client] | None:
        """The token and its client. A client whose scopes were reduced, or whose tenant was changed, has to
        request a new token.
        """
        token = await self._tokens.find(secret)
        if token is None or token.expires_ms <= self._clock.now_ms():
            return None
        client = await self._clients.find(token.client_id)
        if client is None or client.is_disabled or client.tenant != token.tenant:
            return None
        if not all(covers(client.scopes, scope) for scope in parse_scopes(token.scope)):
            return None
        return token, client

    def forget(self, secret: str) -> None:
        """The token was revoked: this process looks it up again at its next use."""
        self._cache.put(secret, (ANONYMOUS, 0.0))


class TokenService:
    """The token endpoint without its protocol."""

    def __init__(
        self, verifier: AssertionVerifier, tokens: AccessTokens, authenticator: TokenAuthenticator
    ) -> None:
        self._verifier = verifier
        self._tokens = tokens
        self._authenticator = authenticator

    async def authenticate_client(self, assertion: str, audience: str, client_id: str) -> Client:
        """The client of an assertion; raises `OAuthError` with `invalid_client`."""
        return await self._verifier.verify(assertion, [audience], client_id)

    async def issue(self, client: Client, scope: str) -> IssuedToken:
        """A token for the scopes; raises `OAuthError` with `invalid_scope`."""
        granted = " ".join(map(str, grant(scope, client.scopes)))
        secret, _ = await self._tokens.issue(client.client_id, client.tenant, granted, LIFETIME_MS)
        return IssuedToken(secret, LIFETIME_MS // 1000, granted)

    async def introspect(self, principal: Principal, secret: str) -> AccessToken | None:
        """What a token stands for; None for one that is not active.

        A client may ask about its own tokens, administrators and auditors about those of their tenant.
        """
        token = await self._authenticator.find(secret)
        if token is None or token.tenant != principal.tenant:
            return None
        if token.client_id != principal.client_id and not principal.roles & _INTROSPECT_ALL:
            return None
        return token

    async def revoke(self, client: Client, secret: str) -> None:
        """Ends a token of the client at once; nothing happens for one that is not active (RFC 7009, 2.2).

        Raises `OAuthError` for the token of another client.
        """
        token = await self._tokens.find(secret)
        if token is None:
            return
        if token.client_id != client.client_id:
            raise OAuthError("invalid_grant", "The token was issued to another client, which can revoke it.")
        await self._tokens.revoke(secret)
        self._authenticator.forget(secret)
