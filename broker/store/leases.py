"""Leases on partitions and on the inbox, and the matchers that are alive.

A lease names one owner for a while; its fencing token grows with each owner, so that scripts refuse what a
former owner still sends.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from broker.store.protocol import Store
from broker.store.scripts import leases

_log = structlog.get_logger(__name__)
INBOX = "inbox"
READINGS = "readings"
"""Whose owner processes quarantined readings again."""

LEASE_MS = 2_500
"""How long a lease on a partition or the inbox lasts: what the loss of a process costs (decision 176)."""
RENEW_S = 0.8
"""Two renewals may fail or come late by 0.9 s before a lease is lost."""


class Acquired(NamedTuple):
    """Fencing tokens by partition, and in how many ms the first lease of another owner runs out unless it is
    renewed (None: there was none among those asked for).
    """

    tokens: dict[int, int]
    next_free_ms: int | None


class Leases:
    """The leases of one owner."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._fenced: dict[int, int] = {}

    async def acquire(self, partitions: Sequence[int], ttl_ms: int) -> dict[int, int]:
        """Takes or renews leases; the fencing token of each partition that the owner holds now."""
        return (await self.acquire_free(partitions, ttl_ms)).tokens

    async def acquire_free(self, partitions: Sequence[int], ttl_ms: int) -> Acquired:
        """`acquire`, and when to ask again for what others hold."""
        if not partitions:
            return Acquired({}, None)
        tokens = await leases.acquire_leases(self._store, partitions, self._owner, ttl_ms)
        held = {partition: token for partition, token in zip(partitions, tokens, strict=True) if token > 0}
        await self._fence(held)
        return Acquired(held, min((-token for token in tokens if token <= 0), default=None))

    async def _fence(self, tokens: Mapping[int, int]) -> None:
        new = {p: token for p, token in tokens.items() if self._fenced.get(p) != token}
        if new:
            await leases.fence_partitions(self._store, new)
            self._fenced.update(new)

    async def release(self, partitions: Sequence[int]) -> None:
        if partitions:
            await leases.release_leases(self._store, partitions, self._owner)

    async def acquire_inbox(self, ttl_ms: int) -> int:
        """Takes or renews the lease of the inbox: 0, or in how many ms another owner's lease runs out."""
        return await self.acquire_named(INBOX, ttl_ms)

    async def release_inbox(self) -> None:
        await self.release_named(INBOX)

    async def acquire_named(self, name: str, ttl_ms: int) -> int:
        """Takes or renews the lease of that name: 0, or in how many ms another owner's lease runs out."""
        (token,) = await leases.acquire_leases(self._store, [name], self._owner, ttl_ms)
        return max(0, -token)

    async def release_named(self, name: str) -> None:
        await leases.release_leases(self._store, [name], self._owner)

    async def announce(self, ttl_ms: int) -> tuple[int, int]:
        """Records that this matcher is alive for `ttl_ms`; how many matchers are, this one included, and in
        how many ms the first of the others counts no longer (0: there is none).
        """
        return await leases.announce_matcher(self._store, self._owner, ttl_ms)

    async def withdraw(self) -> None:
        """Records that this matcher stops."""
        await leases.announce_matcher(self._store, self._owner, 0)


async def void(store: Store, *, lease_ms: int) -> None:
    """Ends all leases and claims at once. The caller knows that every process that could hold one has ended.

    Fencing tokens only grow, so what a process would still write that lives on against all proof is refused
    as soon as another one has taken its lease or its claim.
    """
    await leases.void_leases(store)
    claims = await leases.void_claims(store, lease_ms=lease_ms)
    _log.info("leases of processes that ended are void", claims=claims)
