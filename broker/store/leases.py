"""Leases on partitions and on the inbox, and the matchers that are alive.

A lease names one owner for a while; its fencing token grows with each owner, so that scripts refuse what a
former owner still sends.
"""

from collections.abc import Mapping, Sequence

from broker.store.protocol import Store
from broker.store.scripts import leases

INBOX = "inbox"


class Leases:
    """The leases of one owner."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._fenced: dict[int, int] = {}

    async def acquire(self, partitions: Sequence[int], ttl_ms: int) -> dict[int, int]:
        """Takes or renews leases; the fencing token of each partition that the owner holds now."""
        if not partitions:
            return {}
        tokens = await leases.acquire_leases(self._store, partitions, self._owner, ttl_ms)
        held = {partition: token for partition, token in zip(partitions, tokens, strict=True) if token}
        await self._fence(held)
        return held

    async def _fence(self, tokens: Mapping[int, int]) -> None:
        new = {p: token for p, token in tokens.items() if self._fenced.get(p) != token}
        if new:
            await leases.fence_partitions(self._store, new)
            self._fenced.update(new)

    async def release(self, partitions: Sequence[int]) -> None:
        if partitions:
            await leases.release_leases(self._store, partitions, self._owner)

    async def acquire_inbox(self, ttl_ms: int) -> bool:
        """Takes or renews the lease of the inbox; whether the owner holds it."""
        return bool((await leases.acquire_leases(self._store, [INBOX], self._owner, ttl_ms))[0])

    async def release_inbox(self) -> None:
        await leases.release_leases(self._store, [INBOX], self._owner)

    async def announce(self, ttl_ms: int) -> int:
        """Records that this matcher is alive for `ttl_ms`; how many matchers are, this one included."""
        return await leases.announce_matcher(self._store, self._owner, ttl_ms)

    async def withdraw(self) -> None:
        """Records that this matcher stops."""
        await leases.announce_matcher(self._store, self._owner, 0)
