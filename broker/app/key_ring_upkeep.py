"""What `fhir-broker key-ring` does with the store: seal everything again, and drop a key that nothing needs.

It connects to the store beside the processes that use it, also to an embedded one.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from broker.app.secrets import open_key_ring, sealing
from broker.app.stores import open_store
from broker.errors import ConfigurationError
from broker.model.change import Tenant
from broker.model.wording import count_of
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.resource_cipher import ResourceCipher
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.settings import Settings
from broker.store.attempt_texts import AttemptTexts, StoredText
from broker.store.protocol import Store
from broker.store.sealed_explanations import SealedExplanation, SealedExplanations
from broker.store.sealed_quarantine import SealedQuarantine, SealedReading
from broker.store.sealed_resources import SealedResources, SealedText
from broker.store.sealed_secrets import Sealed, SealedSecrets
from broker.store.sealing_keys import SealingKeys


class Counts(NamedTuple):
    """Subscriptions that have secrets sealed, and versions of resources and quarantined readings that are.
    The OperationOutcomes of dead letters, and what attempts sent, count as versions of resources.
    """

    subscriptions: int
    resources: int
    readings: int

    def __str__(self) -> str:
        resources = count_of(self.resources, "version of resources", "versions of resources")
        readings = count_of(self.readings, "quarantined reading")
        return f"{count_of(self.subscriptions, 'Subscription')}, {resources} and {readings}"


class Usage(NamedTuple):
    """By the id of the key."""

    subscriptions: Counter[str]
    resources: Counter[str]
    readings: Counter[str]

    def of(self, key_id: str) -> Counts:
        return Counts(self.subscriptions[key_id], self.resources[key_id], self.readings[key_id])


async def reseal(settings: Settings, url: str) -> Counts:
    """Seals what is under another key than the active one again; how much that was.

    Processes that run go on, and none of their writes is lost.
    """
    async with _opened(settings, url) as (store, ring):
        await SealingKeys(store).record(ring.active_id)
        seal = sealing(SubscriptionSecrets(ring))

        def seal_again(before: Sealed) -> Sealed:
            return before if _key_ids(before) <= {ring.active_id} else seal(before)

        cipher = ResourceCipher(ring)

        def under_active_key(text: bytes, tenant: Tenant, reference: str) -> bytes:
            if key_id_of(text) == ring.active_id:
                return text
            return cipher.seal(cipher.open(text, tenant, reference), tenant, reference, ring.active_id)

        def seal_text_again(sealed: SealedText | SealedExplanation | StoredText) -> bytes:
            return under_active_key(sealed.text, sealed.tenant, sealed.reference)

        def seal_reading_again(sealed: SealedReading) -> bytes:
            return under_active_key(sealed.text, sealed.tenant, sealed.place)

        return Counts(
            await SealedSecrets(store).change_all(seal_again),
            await SealedResources(store).change_all(seal_text_again)
            + await SealedExplanations(store).change_all(seal_text_again)
            + await AttemptTexts(store).change_all(seal_text_again),
            await SealedQuarantine(store).change_all(seal_reading_again),
        )


async def usage(settings: Settings, url: str) -> Usage:
    """What is sealed under each key."""
    async with _opened(settings, url) as (store, _):
        return await _usage(store)


async def drop(settings: Settings, url: str, key_id: str) -> None:
    """Removes a key from the ring. Raises `ConfigurationError` for the active key, and while something is
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
        used = (await _usage(store)).of(key_id)
        if any(used):
            raise ConfigurationError(
                f"Under {key_id} are sealed: {used}. Run `fhir-broker key-ring reseal` first."
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


async def _usage(store: Store) -> Usage:
    found = Usage(Counter(), Counter(), Counter())
    async for sealed in SealedSecrets(store).all():
        found.subscriptions.update(_key_ids(sealed))
    async for text in SealedResources(store).all():
        found.resources[key_id_of(text.text)] += 1
    async for explanation in SealedExplanations(store).all():
        found.resources[key_id_of(explanation.text)] += 1
    async for attempt in AttemptTexts(store).sealed():
        found.resources[key_id_of(attempt.text)] += 1
    async for reading in SealedQuarantine(store).all():
        found.readings[key_id_of(reading.text)] += 1
    return found


def _key_ids(sealed: Sealed) -> set[str]:
    values = (sealed.subscription.sealed_headers, sealed.signing)
    return {key_id_of(value) for value in values if value}
