"""What many tests share: a real store, started once and emptied for each test that asks for it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.server import Server

LAYOUT = Layout(partitions=4, shards=4)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(Path(tmp_path_factory.mktemp("store")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(embedded: EmbeddedServer) -> AsyncIterator[Server]:
    server = Server(embedded.url, LAYOUT)
    await server.client.flushall()
    await server.open()
    yield server
    await server.close()
