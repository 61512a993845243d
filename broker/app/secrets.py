"""Opens the key ring of a process, and connects what seals with what is stored."""

import contextlib
import stat

import structlog

from broker.clock import SystemClock, to_instant
from broker.errors import ConfigurationError
from broker.security.key_ring import KeyRing, RingFile, RingKey
from broker.security.resource_cipher import ResourceCipher
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.settings import Settings
from broker.store.bodies import Bodies
from broker.store.protocol import Store
from broker.store.sealed_secrets import Change, Sealed
from broker.store.sealing_keys import SealingKeys

_log = structlog.get_logger(__name__)


async def open_key_ring(settings: Settings, store: Store) -> KeyRing | None:
    """The ring of BROKER_KEY_RING, or that of the data directory, which the first start makes; None for a
    shared store without one.

    Raises `ConfigurationError` if the store has values under keys that the ring lacks, or the file cannot
    be used.
    """
    path, needed = settings.key_ring_path, await SealingKeys(store).all()
    if path is None:
        if needed:
            raise ConfigurationError(
                "The store has sealed secrets, and BROKER_KEY_RING is not set. Set it to the key ring of the"
                " other processes."
            )
        if settings.seal_resources:
            raise ConfigurationError(
                "BROKER_SEAL_RESOURCES needs a key ring. Set BROKER_KEY_RING; make the file with"
                " `fhir-broker key-ring create`."
            )
        return None
    if not path.exists() and not needed and settings.redis_url is None:
        with contextlib.suppress(FileExistsError):  # another process was first
            new_ring().write(path, is_new=True)
    if not path.exists():
        lost = f" The store has values sealed under {', '.join(sorted(needed))}." if needed else ""
        raise ConfigurationError(
            f"There is no key ring at {path}.{lost} Restore it from its backup, or make one with"
            " `fhir-broker key-ring create` if nothing is sealed yet."
        )
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("every user of this machine can read the key ring; set its mode to 0600", path=str(path))
    ring = KeyRing(path)
    missing = needed - ring.key_ids
    if missing:
        raise ConfigurationError(
            f"The key ring {path} has no key {', '.join(sorted(missing))}, under which secrets in the store"
            " are sealed. Restore the key from the backup of the key ring."
        )
    return ring


def resource_bodies(settings: Settings, store: Store, ring: KeyRing | None) -> Bodies:
    """How resources are stored. What is sealed is read whatever the setting says now."""
    if ring is None:
        return Bodies()
    return Bodies(ResourceCipher(ring), SealingKeys(store) if settings.seal_resources else None)


def new_ring() -> RingFile:
    """A ring with one new key."""
    key = new_key()
    return RingFile(key.id, (key,))


def new_key() -> RingKey:
    return RingKey.generate(to_instant(SystemClock().now_ms()))


def sealing(secrets: SubscriptionSecrets) -> Change:
    """The change that seals everything of a subscription under the active key."""

    def seal(before: Sealed) -> Sealed:
        subscription = before.subscription
        return Sealed(secrets.reseal(subscription), secrets.reseal_signing(subscription, before.signing))

    return seal
