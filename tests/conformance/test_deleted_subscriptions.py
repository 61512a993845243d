"""What every store knows of a subscription that was deleted."""

from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.protocol import Store
from broker.store.subscriptions import Deletion, Registration, Subscriptions
from tests.conftest import ALL_STORES
from tests.stores import redis_of
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
ID = stored_subscription().id
KEEP_MS = 60_000


async def test_the_version_of_a_deletion_is_known_for_a_while_and_not_given_out_again(store: Store) -> None:
    subscriptions = Subscriptions(store, keep_deleted_ms=KEEP_MS)
    await subscriptions.put(stored_subscription(), create=True)
    assert await subscriptions.deletion(DEFAULT_TENANT, ID) is None
    await subscriptions.delete(DEFAULT_TENANT, ID)
    assert await subscriptions.deletion(DEFAULT_TENANT, ID) == Deletion(2, "")
    key = keys.deleted_subscription(subscriptions.shard_of(DEFAULT_TENANT, ID), DEFAULT_TENANT, ID)
    assert 0 < await redis_of(store).pttl(key) <= KEEP_MS
    assert (await subscriptions.delete(DEFAULT_TENANT, ID))[0] is Registration.ABSENT
    registration, version, _ = await subscriptions.put(stored_subscription(), create=False)
    assert (registration, version) == (Registration.CREATED, 3)
    assert await subscriptions.deletion(DEFAULT_TENANT, ID) is None
