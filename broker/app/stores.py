"""Opens the store: an embedded server, or the Redis, Valkey or Cluster of BROKER_REDIS_URL."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator

from broker.app.channels import allowed_networks
from broker.app.secrets import open_key_ring, sealing
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.settings import Settings
from broker.settings.environment import Agreement, values_to_compare
from broker.store.embedded import EmbeddedServer, is_answering, url_of
from broker.store.keys import Layout
from broker.store.layout_record import LayoutRecord
from broker.store.leases import void
from broker.store.migrations import MIGRATIONS, migrations
from broker.store.processes import ProcessRegister
from broker.store.protocol import Store
from broker.store.redis_store import RedisStore, connect
from broker.store.sealing_keys import SealingKeys
from broker.workers.dispatcher import LEASE_MS


@contextlib.asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """The open store, closed on the way out.

    Raises `ConfigurationError` for a store that could lose acknowledged changes, unless
    BROKER_ALLOW_UNSAFE_STORE allows it.
    """
    store = unopened_store(settings, url)
    try:
        await store.open(allow_unsafe=settings.allow_unsafe_store)
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def joined(
    settings: Settings, store: Store, server: EmbeddedServer | None = None
) -> AsyncIterator[ProcessRegister]:
    """The register of the store's processes, with this one in it until the way out.

    A process that has started the embedded server itself and finds no other one takes over at once: each
    lease and claim is of an earlier life. Whoever claimed the data directory before has ended, and so has
    each process in the register of which the kernel says so; with any other one the leases are waited for.

    Raises `ConfigurationError` if a process with settings that must be alike and are not runs.
    """
    register = ProcessRegister(
        store,
        required=values_to_compare(settings, Agreement.REQUIRED),
        expected=values_to_compare(settings, Agreement.EXPECTED),
        predecessor=server.predecessor if server is not None else None,
    )
    is_alone = await register.join()
    try:
        if server is not None and is_alone:
            await void(store, lease_ms=LEASE_MS)
        yield register
    finally:
        await register.leave()


async def migrate_store(settings: Settings, url: str) -> list[str]:
    """Migrates the data set to this broker's schema; returns the titles of the migrations it ran.

    Raises `ConfigurationError` for a data set that cannot be migrated.
    """
    store = unopened_store(settings, url)
    try:
        await store.open_unverified(allow_unsafe=settings.allow_unsafe_store)
        ring = await open_key_ring(settings, store)
        steps = MIGRATIONS
        if ring is not None:
            await SealingKeys(store).record(ring.active_id)
            steps = migrations(sealing(SubscriptionSecrets(ring)))
        record = LayoutRecord(store, migrations=steps)
        return [migration.title for migration in await record.migrate()]
    finally:
        await store.close()


def unopened_store(settings: Settings, url: str) -> RedisStore:
    """The store at a URL, not opened yet."""
    layout = Layout(settings.partitions, settings.shards)
    return connect(url, layout, durability=settings.durability, replicas=settings.replicas)


@contextlib.contextmanager
def claimed_server(settings: Settings) -> Iterator[EmbeddedServer | None]:
    """The embedded server of the data directory, not started yet; None if BROKER_REDIS_URL names a store.

    No other process can use the directory until the way out. Raises `ConfigurationError` if one does.
    """
    if settings.redis_url is not None:
        yield None
        return
    server = EmbeddedServer(settings.data_dir, durability=settings.durability)
    server.claim()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def reachable_store(settings: Settings) -> Iterator[str]:
    """The URL of the store for a command that works beside running brokers: an embedded server that no broker
    has started runs for the command.
    """
    if settings.redis_url is None and is_answering(settings.data_dir):
        yield url_of(settings.data_dir)
        return
    with claimed_server(settings) as server, store_url(settings, server) as url:
        yield url


def beside_broker(settings: Settings) -> Settings:
    """The settings of a process that uses the embedded store of a running broker, if they name no store.

    The files of that broker are used too. With no such broker, the settings stay as they are.
    """
    if settings.redis_url is not None or not is_answering(settings.data_dir):
        return settings
    return dataclasses.replace(
        settings,
        redis_url=url_of(settings.data_dir),
        key_ring=settings.key_ring_path,
        high_water_file=settings.high_water_path,
        egress_allow=allowed_networks(settings),
    )


@contextlib.contextmanager
def store_url(settings: Settings, server: EmbeddedServer | None) -> Iterator[str]:
    """The URL of the store: BROKER_REDIS_URL, or that of the embedded server, which is started, restarted if
    it dies, and stopped on the way out.
    """
    if server is None:
        assert settings.redis_url is not None  # noqa: S101 `claimed_server` gives None only then
        yield settings.redis_url
        return
    try:
        server.start()
        server.keep()
        yield server.url
    finally:
        server.stop()
