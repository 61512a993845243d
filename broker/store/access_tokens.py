"""Access tokens, and the client assertions that were used to get them; both are shared by all processes.

Only digests are stored: who reads the store can use neither.
"""

import hashlib
import json
import secrets

from broker.model.access_token import AccessToken
from broker.model.change import Tenant
from broker.store import token_keys
from broker.store.protocol import Command, Store


class AccessTokens:
    """Issues, finds and revokes. Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(
        self, client_id: str, tenant: Tenant, scope: str, lifetime_ms: int
    ) -> tuple[str, AccessToken]:
        """A new random token, and what it stands for."""
        secret = secrets.token_urlsafe(32)
        ((seconds, micros),) = await self._store.send([("TIME",)])
        expires_ms = int(seconds) * 1000 + int(micros) // 1000 + lifetime_ms
        stored = {"client": client_id, "tenant": tenant, "scope": scope, "expires": expires_ms}
        key = token_keys.access_token(_digest(secret))
        await self._store.send([("SET", key, json.dumps(stored), "PX", lifetime_ms)])
        return secret, AccessToken(client_id, tenant, scope, expires_ms)

    async def find(self, secret: str) -> AccessToken | None:
        """What the token stands for; None for one that is unknown, revoked or expired."""
        (stored,) = await self._store.send([("GET", token_keys.access_token(_digest(secret)))])
        if stored is None:
            return None
        token = json.loads(stored)
        return AccessToken(token["client"], Tenant(token["tenant"]), token["scope"], int(token["expires"]))

    async def revoke(self, secret: str) -> None:
        await self._store.send([("DEL", token_keys.access_token(_digest(secret)))])


class UsedAssertions:
    """The pairs of issuer and jti that were used (S-052)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def use(self, issuer: str, jti: str, lifetime_ms: int) -> bool:
        """Whether this is the first use, in all processes; it is remembered for `lifetime_ms`."""
        key = token_keys.used_assertion(_digest(json.dumps([issuer, jti])))
        request = secrets.token_hex(8)
        # a repeated command must not refuse its own first run: the value says who was first
        commands: list[Command] = [("SET", key, request, "NX", "PX", lifetime_ms), ("GET", key)]
        _, first = await self._store.send(commands)
        return bool(first == request.encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
