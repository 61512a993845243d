"""Holds a fair share of the partitions for one matcher: takes free ones, gives back those beyond its share.

A partition has one matcher at a time. The store fences a former holder by the lease's token, so a lease that
ran out unnoticed can't cause a duplicate event.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Mapping

from broker.store.leases import LEASE_MS, RENEW_S, Leases
from broker.store.protocol import Store

CERTAIN_S = LEASE_MS / 1000 - 0.5
"""A lease that was renewed longer ago may run out before a read is answered."""


class PartitionLeases:
    """`tokens` has the fencing token of each partition held; `changed` is set when they are others. `renew`
    is due again in `renew_in_s`.
    """

    def __init__(self, store: Store) -> None:
        self._leases = Leases(store, uuid.uuid4().hex)
        self._partitions = store.layout.partitions
        self._renewed_at_s = 0.0
        self.tokens: Mapping[int, int] = {}
        self.matchers = 1
        self.renew_in_s = RENEW_S
        self.changed = asyncio.Event()

    @property
    def are_certain(self) -> bool:
        """False if this process stood still: its leases may have run out, and what it would read belongs to
        another.
        """
        return time.monotonic() - self._renewed_at_s < CERTAIN_S

    async def renew(self) -> None:
        """Renews the leases and adjusts them to the share of one matcher. Raises `StoreUnavailable`."""
        self.matchers, next_end_ms = await self._leases.announce(LEASE_MS)
        share = math.ceil(self._partitions / self.matchers)
        mine = sorted(self.tokens)
        kept, excess = mine[:share], mine[share:]
        if excess:
            self.tokens = {partition: self.tokens[partition] for partition in kept}
            await self._leases.release(excess)
        wanted = kept
        if len(kept) < share:
            # asks for all partitions, because any of them may be free, and keeps no more than the share
            wanted = kept + [partition for partition in range(self._partitions) if partition not in mine]
        requested_at_s = time.monotonic()
        tokens, next_free_ms = await self._leases.acquire_free(wanted, LEASE_MS)
        self._renewed_at_s = requested_at_s
        # what a lost matcher held is free as soon as its leases run out, and not a renewal later
        next_ms = min(next_end_ms or math.inf, next_free_ms or math.inf)
        self.renew_in_s = min(RENEW_S, (next_ms + 1) / 1000)
        gained = [partition for partition in tokens if partition not in mine]
        surplus = gained[max(0, share - len(kept)) :]
        if surplus:
            await self._leases.release(surplus)
        held = {partition: token for partition, token in tokens.items() if partition not in surplus}
        if held != self.tokens:
            self.tokens = held
            self.changed.set()

    async def release(self) -> None:
        """Gives everything back, so that other matchers need not wait for the leases to run out."""
        # also those that a renewal took and did not report
        await self._leases.release(range(self._partitions))
        await self._leases.withdraw()
