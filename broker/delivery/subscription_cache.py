"""Keeps the subscriptions that are being delivered, so that an attempt needs no store read for an unchanged
one.
"""

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from broker.model.subscription import Subscription, SubscriptionKey
from broker.store.schedule import Claim
from broker.store.subscriptions import Subscriptions

_MAX_CACHED = 50_000
_MAX_UNUSED_S = 300.0
"""A subscription that was deleted is not claimed any more, and leaves after this time."""


class _Cached(NamedTuple):
    revision: str
    subscription: Subscription
    used_at: float


class SubscriptionCache:
    """Recently used subscriptions, each valid for the revision that a claim names."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._cached: OrderedDict[SubscriptionKey, _Cached] = OrderedDict()

    async def get(self, claim: Claim) -> Subscription | None:
        """The subscription as it was claimed; None if it was deleted or replaced since. Raises
        `StoreUnavailable`.
        """
        key, now = (claim.tenant, claim.id), asyncio.get_running_loop().time()
        cached = self._cached.get(key)
        if cached is None or cached.revision != claim.revision:
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            cached = _Cached(record.revision, record.subscription, now)
        self._cached[key] = cached._replace(used_at=now)
        self._cached.move_to_end(key)
        self._remove_unused(now)
        return cached.subscription

    def _remove_unused(self, now: float) -> None:
        """Removes what is too many or unused for too long; the first entry is the one used longest ago."""
        while len(self._cached) > _MAX_CACHED or (
            next(iter(self._cached.values())).used_at < now - _MAX_UNUSED_S
        ):
            self._cached.popitem(last=False)
