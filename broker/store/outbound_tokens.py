"""Access tokens that the broker got from others, shared by its processes, and whose turn it is to get one.

The tokens are sealed before they come here. They expire in the store when they are used no more, so no clocks
are compared.
"""

import secrets
from typing import NamedTuple

from broker.model.change import Tenant
from broker.store import token_keys
from broker.store.protocol import Store

TURN_MS = 15_000
"""A process that ends while it gets a token keeps the others waiting no longer than this."""


class StoredToken(NamedTuple):
    """A sealed token, and for how long it may still be used."""

    sealed: bytes
    left_ms: int


class OutboundTokenStore:
    """`name` says what a token is for, within its tenant. Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, tenant: Tenant, name: str) -> StoredToken | None:
        key = token_keys.outbound_token(tenant, name)
        sealed, left_ms = await self._store.send([("GET", key), ("PTTL", key)])
        return StoredToken(sealed, left_ms) if sealed is not None and left_ms > 0 else None

    async def keep(self, tenant: Tenant, name: str, sealed: bytes, lifetime_ms: int) -> None:
        await self._store.send([("SET", token_keys.outbound_token(tenant, name), sealed, "PX", lifetime_ms)])

    async def forget(self, tenant: Tenant, name: str) -> None:
        await self._store.send([("DEL", token_keys.outbound_token(tenant, name))])

    async def take_turn(self, tenant: Tenant, name: str) -> bool:
        """Whether the caller is the one that gets a token; it calls `end_turn` then."""
        key, mine = token_keys.outbound_turn(tenant, name), secrets.token_hex(8)
        _, holder = await self._store.send([("SET", key, mine, "NX", "PX", TURN_MS), ("GET", key)])
        return bool(holder == mine.encode())

    async def end_turn(self, tenant: Tenant, name: str) -> None:
        await self._store.send([("DEL", token_keys.outbound_turn(tenant, name))])
