"""Opens the store: an embedded server, or the Redis, Valkey or Cluster of BROKER_REDIS_URL."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.protocol import Store
from broker.store.redis_store import connect


@contextlib.asynccontextmanager
async def open_store(settings: Settings, url: str) -> AsyncIterator[Store]:
    """The open store, closed on the way out.

    Raises `ConfigurationError` for a store that could lose acknowledged changes, unless BROKER_ALLOW_UNSAFE_STORE allows it.
    """
    layout = Layout(settings.partitions, settings.shards)
    store = connect(url, layout, durability=settings.durability, replicas=settings.replicas)
    try:
        await store.open(allow_unsafe=settings.allow_unsafe_store)
        yield store
    finally:
        await store.close()


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
