"""Keeps the subscriptions that are being delivered, so that an attempt needs no store read for an unchanged
one.
"""

from collections import OrderedDict

from broker.model.subscription import Subscription, SubscriptionKey
from broker.store.schedule import Claim
from broker.store.subscriptions import Subscriptions

_MAX_CACHED = 50_000


class SubscriptionCache:
    """Least recently used subscriptions, each valid for the revision that a claim names."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._cached: OrderedDict[SubscriptionKey, tuple[str, Subscription]] = OrderedDict()

    async def get(self, claim: Claim) -> Subscription | None:
        """The subscription as it was claimed; None if it was deleted or replaced since. Raises
        `StoreUnavailable`.
        """
        key = (claim.tenant, claim.id)
        cached = self._cached.get(key)
        if cached is None or cached[0] != claim.revision:
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            cached = self._cached[key] = (record.revision, record.subscription)
            if len(self._cached) > _MAX_CACHED:
                self._cached.popitem(last=False)
        self._cached.move_to_end(key)
        return cached[1]
