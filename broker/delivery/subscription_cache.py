"""Keeps the subscriptions that are being delivered, so that an attempt needs no store read for an unchanged
one.
"""

from typing import NamedTuple

from broker.model.subscription import Subscription, SubscriptionKey
from broker.recently_used import RecentlyUsed
from broker.store.schedule import Claim
from broker.store.subscriptions import Subscriptions

MAX_CACHED = 50_000
MAX_UNUSED_S = 300.0
"""A subscription that was deleted is not claimed any more, and leaves after this time."""


class _Cached(NamedTuple):
    revision: str
    subscription: Subscription


class SubscriptionCache:
    """Recently used subscriptions, each valid for the revision that a claim names."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._cached = RecentlyUsed[SubscriptionKey, _Cached](MAX_CACHED, MAX_UNUSED_S)

    async def get(self, claim: Claim) -> Subscription | None:
        """The subscription as it was claimed; None if it was deleted or replaced since. Raises
        `StoreUnavailable`.
        """
        key = (claim.tenant, claim.id)
        cached = self._cached.get(key)
        if cached is None or cached.revision != claim.revision:
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            cached = _Cached(record.revision, record.subscription)
            self._cached.put(key, cached)
        return cached.subscription
