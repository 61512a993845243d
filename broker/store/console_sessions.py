"""Logins to the console: sessions and one-time links, shared by all processes.

Only digests of their secrets are stored: who reads the store can use neither.
"""

import hashlib
import json
import secrets

from broker.model.change import Tenant
from broker.model.principal import Principal
from broker.model.scopes import parse_scopes
from broker.store import token_keys
from broker.store.protocol import Store


class StoredSessions:
    """Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self, principal: Principal, lifetime_ms: int) -> str:
        """The secret of a new session."""
        secret = secrets.token_urlsafe(32)
        stored = {
            "client": principal.client_id,
            "tenant": principal.tenant,
            "scope": " ".join(map(str, principal.scopes)),
            "roles": sorted(principal.roles),
        }
        key = token_keys.console_session(_digest(secret))
        await self._store.send([("SET", key, json.dumps(stored), "PX", lifetime_ms)])
        return secret

    async def find(self, secret: str) -> Principal | None:
        """Who is logged in; None for a session that is unknown, closed or expired."""
        (stored,) = await self._store.send([("GET", token_keys.console_session(_digest(secret)))])
        if stored is None:
            return None
        session = json.loads(stored)
        return Principal(
            session["client"],
            Tenant(session["tenant"]),
            parse_scopes(session["scope"]),
            frozenset(session["roles"]),
        )

    async def close(self, secret: str) -> None:
        await self._store.send([("DEL", token_keys.console_session(_digest(secret)))])


class LoginLinks:
    """Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def make(self, tenant: Tenant, lifetime_ms: int) -> str:
        """The secret of a new link, which logs in an administrator of the tenant once."""
        secret = secrets.token_urlsafe(32)
        await self._store.send([("SET", token_keys.console_link(_digest(secret)), tenant, "PX", lifetime_ms)])
        return secret

    async def use(self, secret: str) -> Tenant | None:
        """The tenant of the link, once; None for one that is unknown, used or expired."""
        (stored,) = await self._store.send([("GETDEL", token_keys.console_link(_digest(secret)))])
        return None if stored is None else Tenant(stored.decode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
