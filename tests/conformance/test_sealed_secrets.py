"""Changes of what subscriptions have sealed: compared and written in one step, on every store."""

import asyncio

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.subscription import SubscriptionId
from broker.store.protocol import Store
from broker.store.sealed_secrets import Sealed, SealedSecrets
from broker.store.sealing_keys import SealingKeys
from broker.store.subscriptions import Record, Subscriptions
from tests.conftest import ALL_STORES
from tests.subscriptions import stored_subscription

STORES = ALL_STORES


async def record_of(store: Store, name: str) -> Record:
    record = await Subscriptions(store).get(DEFAULT_TENANT, SubscriptionId(name))
    assert record is not None
    return record


async def test_signing_secrets_are_stored_without_a_new_version_and_go_with_the_subscription(
    store: Store,
) -> None:
    subscriptions, sealed = Subscriptions(store), SealedSecrets(store)
    await subscriptions.put(stored_subscription("a"), create=True)
    before = await record_of(store, "a")
    key = (DEFAULT_TENANT, SubscriptionId("a"))
    assert before.signing_secrets == b""
    assert await sealed.rotate_signing(key, lambda stored: stored._replace(signing=b"\x00one"))
    after = await record_of(store, "a")
    assert after.signing_secrets == b"\x00one"
    assert (after.subscription, after.revision) == (before.subscription, before.revision)
    await subscriptions.put(stored_subscription("a"), create=False)
    assert (await record_of(store, "a")).signing_secrets == b"\x00one", "an update keeps them"
    await subscriptions.delete(*key)
    assert not await sealed.rotate_signing(key, lambda stored: stored)
    await subscriptions.put(stored_subscription("a"), create=True)
    assert (await record_of(store, "a")).signing_secrets == b""


async def test_changes_at_the_same_time_lose_none(store: Store) -> None:
    await Subscriptions(store).put(stored_subscription("a"), create=True)
    key = (DEFAULT_TENANT, SubscriptionId("a"))

    async def add(n: int) -> None:
        def change(stored: Sealed) -> Sealed:
            return stored._replace(signing=stored.signing + bytes([n]))

        assert await SealedSecrets(store).rotate_signing(key, change)

    await asyncio.gather(*(add(n) for n in range(8)))
    assert sorted((await record_of(store, "a")).signing_secrets) == list(range(8))


async def test_everything_is_changed_that_the_change_changes(store: Store) -> None:
    subscriptions, sealed = Subscriptions(store), SealedSecrets(store)
    other = stored_subscription("a").changed(tenant=Tenant("other"))
    for subscription in (*(stored_subscription(f"s{n:02}") for n in range(20)), other):
        await subscriptions.put(subscription, create=True)

    def change(stored: Sealed) -> Sealed:
        if stored.subscription.id == "s07":
            return stored
        return Sealed(stored.subscription.changed(sealed_headers=b"new"), stored.signing)

    assert await sealed.change_all(change) == 20
    assert await sealed.change_all(change) == 0
    changed = [each.subscription.sealed_headers async for each in sealed.all()]
    assert sorted(changed) == [b"", *[b"new"] * 20]
    assert (await record_of(store, "s08")).subscription.sealed_headers == b"new"


async def test_the_keys_in_use_are_known_to_every_process(store: Store) -> None:
    first, second = SealingKeys(store), SealingKeys(store)
    await first.record("aa")
    await first.record("aa")
    await second.record("bb")
    assert await first.all() == {"aa", "bb"}
    await second.remove("aa")
    assert await second.all() == {"bb"}
