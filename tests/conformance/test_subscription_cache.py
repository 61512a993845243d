"""The cache of subscriptions that are being delivered, over a store."""

import pytest

from broker.delivery import subscription_cache
from broker.delivery.subscription_cache import SubscriptionCache
from broker.model.change import DEFAULT_TENANT
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.store.claims import Claim
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from tests.subscriptions import stored_subscription


async def claim_of(subscriptions: Subscriptions, name: str) -> Claim:
    record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId(name))
    assert record is not None
    return Claim(
        DEFAULT_TENANT,
        SubscriptionId(name),
        shard=0,
        token=1,
        type=NotificationType.HANDSHAKE,
        status=SubscriptionStatus.REQUESTED,
        count=0,
        at_ms=0,
        attempts=0,
        since_ms=0,
        now_ms=0,
        events=(),
        revision=record.revision,
    )


@pytest.mark.parametrize(("name", "limit"), [("MAX_CACHED", 1), ("MAX_UNUSED_S", 0.0)])
async def test_subscriptions_that_are_too_many_or_unused_leave(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, limit: float
) -> None:
    subscriptions = Subscriptions(store)
    for subscription_id in ("a", "b"):
        await subscriptions.put(stored_subscription(subscription_id), create=True)
    first, second = [await claim_of(subscriptions, subscription_id) for subscription_id in ("a", "b")]
    unlimited = SubscriptionCache(subscriptions, SubscriptionSecrets(None))
    cached = await unlimited.get(first)
    assert await unlimited.get(second)
    assert cached is await unlimited.get(first)
    monkeypatch.setattr(subscription_cache, name, limit)
    cache = SubscriptionCache(subscriptions, SubscriptionSecrets(None))
    cached = await cache.get(first)
    assert await cache.get(second)
    again = await cache.get(first)
    assert again is not None
    assert again is not cached
    assert again.subscription.id == "a"


async def test_a_claim_of_another_revision_gets_no_subscription(store: Store) -> None:
    subscriptions = Subscriptions(store)
    await subscriptions.put(stored_subscription("a"), create=True)
    claim = await claim_of(subscriptions, "a")
    await subscriptions.delete(DEFAULT_TENANT, SubscriptionId("a"))
    assert await SubscriptionCache(subscriptions, SubscriptionSecrets(None)).get(claim) is None
