"""What many tests share: a real store, started once and emptied for each test that asks for it, and a whole broker on it."""

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import ALL_ROLES, Role, Running, running
from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.server import Server
from broker.testing.subscriber import SimulatedSubscriber

LAYOUT = Layout(partitions=4, shards=4)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
StartBroker = Callable[..., AbstractAsyncContextManager[Running]]


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


@pytest.fixture
def settings(embedded: EmbeddedServer) -> Settings:
    """A broker on the shared store that may notify loopback and loses no time between attempts."""
    return Settings(
        port=0,
        redis_url=embedded.url,
        egress_allow=LOOPBACK,
        partitions=LAYOUT.partitions,
        shards=LAYOUT.shards,
        retry_base=timedelta(milliseconds=40),
        retry_max=timedelta(milliseconds=400),
        retry_budget=timedelta(seconds=20),
        topics_dir=Path(__file__).parent.parent / "topics",
    )


@pytest.fixture
def start_broker(store: Server, settings: Settings) -> StartBroker:
    """Starts a broker in this process, on an empty store; keyword arguments replace settings."""

    @contextlib.asynccontextmanager
    async def start(roles: frozenset[Role] = ALL_ROLES, **changed: Any) -> AsyncIterator[Running]:
        async with running(replace(settings, **changed), roles) as broker:
            yield broker

    return start


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker() as started:
        yield started


@pytest.fixture
async def client(broker: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose URLs are relative to the broker: `/r4/Observation`."""
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=10, trust_env=False
    ) as one:
        yield one


@pytest.fixture
async def subscriber() -> AsyncIterator[SimulatedSubscriber]:
    async with SimulatedSubscriber() as one:
        yield one
