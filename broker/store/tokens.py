"""Short-lived tokens with which a client binds a websocket, once (R-326).

Only a digest of each token is stored.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from broker.model.change import Tenant
from broker.model.principal import Principal
from broker.model.scopes import parse_scopes
from broker.model.subscription import SubscriptionId
from broker.store import token_keys
from broker.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token stands for: `reader` is who requested it, with its scopes then.

    At `expires_ms` the binding ends too, not only the time to redeem it.
    """

    reader: Principal
    subscriptions: tuple[SubscriptionId, ...]
    expires_ms: int


class Tokens:
    """Issues and redeems."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(
        self, reader: Principal, subscriptions: Sequence[SubscriptionId], lifetime_ms: int
    ) -> tuple[str, int]:
        """A new token, and when it expires (ms)."""
        token = secrets.token_urlsafe(32)
        ((seconds, micros),) = await self._store.send([("TIME",)])
        expires_ms = int(seconds) * 1000 + int(micros) // 1000 + lifetime_ms
        stored = json.dumps(
            {
                "tenant": reader.tenant,
                "client": reader.client_id,
                "scope": " ".join(map(str, reader.scopes)),
                "subscriptions": list(subscriptions),
                "expires": expires_ms,
            }
        )
        await self._store.send([("SET", token_keys.binding_token(_digest(token)), stored, "PX", lifetime_ms)])
        return token, expires_ms

    async def redeem(self, token: str) -> Binding | None:
        """What the token stands for, once; None for a token that is unknown, used or expired."""
        (stored,) = await self._store.send([("GETDEL", token_keys.binding_token(_digest(token)))])
        if stored is None:
            return None
        binding = json.loads(stored)
        subscriptions = tuple(SubscriptionId(subscription) for subscription in binding["subscriptions"])
        scopes = parse_scopes(binding["scope"])
        reader = Principal(binding["client"], Tenant(binding["tenant"]), scopes, frozenset())
        return Binding(reader, subscriptions, int(binding["expires"]))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
