"""Clients for each delivery, without a read of the store each time.

A client is found at most `CACHE_S` after it changed, and at once in a process that hears of the change.
"""

import time
from collections.abc import Callable

from broker.recently_used import RecentlyUsed
from broker.security.clients import Client, ClientRegistry

CACHE_S = 4.0
_MAX_CACHED = 10_000


class CachedClients:
    """A `ClientRegistry` over another. One a process."""

    def __init__(self, registry: ClientRegistry, now_s: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._now_s = now_s
        self._cached = RecentlyUsed[str, tuple[Client | None, float]](_MAX_CACHED, CACHE_S, now_s)
        self._generation = 0

    async def find(self, client_id: str) -> Client | None:
        cached, now_s = self._cached.get(client_id), self._now_s()
        if cached is not None and now_s < cached[1]:
            return cached[0]
        generation = self._generation
        client = await self._registry.find(client_id)
        if generation == self._generation:  # else what was read may be from before the change
            self._cached.put(client_id, (client, now_s + CACHE_S))
        return client

    def forget(self) -> None:
        """Clients have changed: each is read again."""
        self._generation += 1
        self._cached = RecentlyUsed(_MAX_CACHED, CACHE_S, self._now_s)
