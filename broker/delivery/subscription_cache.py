"""Keeps the subscriptions that are being delivered, so that an attempt needs no store read for an unchanged
one.
"""

from typing import NamedTuple

from broker.model.subscription import Subscription, SubscriptionKey
from broker.recently_used import RecentlyUsed
from broker.security.subscription_secrets import SigningSecret, SubscriptionSecrets
from broker.store.claims import Claim
from broker.store.subscriptions import Record, Subscriptions

MAX_CACHED = 50_000
MAX_UNUSED_S = 300.0
"""A subscription that was deleted is not claimed any more, and leaves after this time."""


class Deliverable(NamedTuple):
    """A subscription with the values of its headers, and the secrets that sign its notifications."""

    subscription: Subscription
    signing: tuple[SigningSecret, ...]


class _Cached(NamedTuple):
    revision: str
    secrets_id: str
    deliverable: Deliverable


class SubscriptionCache:
    """Recently used subscriptions, each valid for the revision and the secrets that a claim names."""

    def __init__(self, subscriptions: Subscriptions, secrets: SubscriptionSecrets) -> None:
        self._subscriptions = subscriptions
        self._secrets = secrets
        self._cached = RecentlyUsed[SubscriptionKey, _Cached](MAX_CACHED, MAX_UNUSED_S)

    async def get(self, claim: Claim) -> Deliverable | None:
        """The subscription as it was claimed; None if it was deleted or replaced since.

        Raises `StoreUnavailable`, and `SecretUnreadable` if its secrets cannot be opened.
        """
        key = (claim.tenant, claim.id)
        cached = self._cached.get(key)
        if cached is None or (cached.revision, cached.secrets_id) != (claim.revision, claim.secrets_id):
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            cached = _Cached(record.revision, claim.secrets_id, self._opened(record))
            self._cached.put(key, cached)
        return cached.deliverable

    def _opened(self, record: Record) -> Deliverable:
        subscription = record.subscription
        signing = self._secrets.open_signing(subscription, record.signing_secrets)
        return Deliverable(self._secrets.reveal(subscription), signing)
