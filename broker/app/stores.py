"""Opens the store: an embedded server, or the Redis, Valkey or Cluster of BROKER_REDIS_URL."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.layout_record import LayoutRecord
from broker.store.protocol import Store
from broker.store.redis_store import RedisStore, connect


@contextlib.asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """The open store, closed on the way out.

    Raises `ConfigurationError` for a store that could lose acknowledged changes, unless
    BROKER_ALLOW_UNSAFE_STORE allows it.
    """
    store = _connect(settings, url)
    try:
        await store.open(allow_unsafe=settings.allow_unsafe_store)
        yield store
    finally:
        await store.close()


async def migrate_store(settings: Settings, url: str) -> list[str]:
    """Migrates the data set to this broker's schema; returns the titles of the migrations it ran.

    Raises `ConfigurationError` for a data set that cannot be migrated.
    """
    store = _connect(settings, url)
    try:
        await store.open_unverified(allow_unsafe=settings.allow_unsafe_store)
        return [migration.title for migration in await LayoutRecord(store).migrate()]
    finally:
        await store.close()


def _connect(settings: Settings, url: str) -> RedisStore:
    layout = Layout(settings.partitions, settings.shards)
    return connect(url, layout, durability=settings.durability, replicas=settings.replicas)


@contextlib.contextmanager
def embedded_store(settings: Settings) -> Iterator[str]:
    """The URL of an embedded server, which is restarted if it dies and stopped on the way out."""
    embedded = EmbeddedServer(settings.data_dir, durability=settings.durability)
    embedded.start()
    embedded.keep()
    try:
        yield embedded.url
    finally:
        embedded.stop()
