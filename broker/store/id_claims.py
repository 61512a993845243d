"""Ids that concurrent conditional requests agree on, so that they create one resource.

A request whose condition matches nothing claims the names in its criteria for the id that it is about to use.
A concurrent request with one of these names is given that id instead of its own; of the two writes, the
store then accepts one. A claim ends by itself.
"""

import hashlib
from collections.abc import Sequence

from broker.model.change import Tenant
from broker.store import keys
from broker.store.protocol import Command, Store

_CLAIM_MS = 60_000
"""Longer than a request takes. A claim that ended is harmless once its resource can be found."""


class IdClaims:
    """Claims of one store, shared by all processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, tenant: Tenant, resource_type: str, names: Sequence[str], resource_id: str) -> str:
        """The id to use: that of the first request that claimed any of the names, else `resource_id`."""
        chosen = resource_id
        for name in names:
            key = keys.id_claim(tenant, resource_type, hashlib.sha256(name.encode()).hexdigest()[:32])
            commands: list[Command] = [("SET", key, chosen, "NX", "PX", _CLAIM_MS), ("GET", key)]
            _, claimed = await self._store.send(commands)
            if claimed is not None:
                chosen = claimed.decode()
        return chosen
