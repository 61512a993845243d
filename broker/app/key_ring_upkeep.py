"""What `fhir-broker key-ring` does with the store: seal everything again, and drop a key that nothing needs.

It connects to the store beside the processes that use it, also to an embedded one.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from broker.app.secrets import open_key_ring, sealing
from broker.app.stores import open_store
from broker.errors import ConfigurationError
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.settings import Settings
from broker.store.protocol import Store
from broker.store.sealed_secrets import Sealed, SealedSecrets
from broker.store.sealing_keys import SealingKeys


async def reseal(settings: Settings, url: str) -> int:
    """Seals what is under another key than the active one again; how many Subscriptions that were.

    Processes that run go on, and none of their writes is lost.
    """
    async with _opened(settings, url) as (store, ring):
        await SealingKeys(store).record(ring.active_id)
        seal = sealing(SubscriptionSecrets(ring))

        def seal_again(before: Sealed) -> Sealed:
            return before if _key_ids(before) <= {ring.active_id} else seal(before)

        return await SealedSecrets(store).change_all(seal_again)


async def usage(settings: Settings, url: str) -> Counter[str]:
    """How many Subscriptions have secrets under each key."""
    async with _opened(settings, url) as (store, _):
        return await _usage(store)


async def drop(settings: Settings, url: str, key_id: str) -> None:
    """Removes a key from the ring. Raises `ConfigurationError` for the active key, and while secrets are
    sealed under it.
    """
    async with _opened(settings, url) as (store, ring):
        content = RingFile.read(ring.path)
        if key_id == content.active_id:
            raise ConfigurationError(
                f"The key {key_id} is the active one. Run `fhir-broker key-ring rotate` first."
            )
        if key_id not in {key.id for key in content.keys}:
            raise ConfigurationError(f"The key ring {ring.path} has no key {key_id}.")
        used = (await _usage(store))[key_id]
        if used:
            raise ConfigurationError(
                f"The secrets of {used} Subscriptions are sealed under {key_id}. "
                "Run `fhir-broker key-ring reseal` first."
            )
        await SealingKeys(store).remove(key_id)
        kept = tuple(key for key in content.keys if key.id != key_id)
        RingFile(content.active_id, kept).write(ring.path)


@contextlib.asynccontextmanager
async def _opened(settings: Settings, url: str) -> AsyncIterator[tuple[Store, KeyRing]]:
    async with open_store(settings, url) as store:
        ring = await open_key_ring(settings, store)
        if ring is None:
            raise ConfigurationError("There is no key ring. Set BROKER_KEY_RING.")
        yield store, ring


async def _usage(store: Store) -> Counter[str]:
    counts: Counter[str] = Counter()
    async for sealed in SealedSecrets(store).all():
        counts.update(_key_ids(sealed))
    return counts


def _key_ids(sealed: Sealed) -> set[str]:
    values = (sealed.subscription.sealed_headers, sealed.signing)
    return {key_id_of(value) for value in values if value}
