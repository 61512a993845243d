"""Fixtures that many tests share: a real store, a broker on it, a client, a subscriber.

The store is started once for each process of pytest and emptied before each test that uses it. Metrics and
failpoints belong to the process, so every test starts with metrics at zero and no failpoint armed.
"""

import asyncio
import contextlib
import functools
import gc
import ipaddress
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import structlog

from broker import failpoints
from broker.api.authentication import Authenticate
from broker.api.routes import HttpRoute
from broker.app import ALL_ROLES, Role, Running, running
from broker.app.secrets import new_ring
from broker.app.topics import load_catalog
from broker.mapping.reading import PayloadMapper
from broker.matching.catalog import Catalog
from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.protocol import Store
from broker.store.redis_store import connect
from broker.testing.subscriber import SimulatedSubscriber
from tests import quick_imports  # noqa: F401 before what it makes quick
from tests.http_clients import share_authorities
from tests.loop_blocks import LOOP_BLOCKS
from tests.metrics import reset_metrics
from tests.served_loop_blocks import REPORTED_BLOCKS
from tests.store_cluster import StoreCluster
from tests.stores import (
    EmbeddedStore,
    SharedStore,
    StoreNode,
    redis_7_binary,
    redis_client_of,
)

LAYOUT = Layout(partitions=4, shards=4)
TOPICS = Path(__file__).parent.parent / "topics"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of `http://` addresses."""
StartBroker = Callable[..., AbstractAsyncContextManager[Running]]

ALL_STORES = ("embedded", "redis_7", "cluster")
"""The fixtures that provide a store: the embedded Valkey, Redis 7.0, and a Cluster with three primaries."""


# the same examples in every run, so what fails, fails for what was changed; "explore" draws others, and more.
# The time of an example says nothing on a loaded machine
_SLOW_IS_FINE = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=_SLOW_IS_FINE
)
hypothesis.settings.register_profile(
    "explore", deadline=None, derandomize=False, max_examples=500, suppress_health_check=_SLOW_IS_FINE
)
hypothesis.settings.load_profile("tests")
LOOP_BLOCKS.install()
share_authorities()


_FIRST = (
    "tests/faults/test_campaign.py",
    "tests/soak",
    "tests/faults",
    "tests/docs",
    "tests/integration",
    "tests/conformance",
    "tests/fhir",
)
"""Files with slow tests run first: each process of pytest-xdist takes whole files, and the last ones to end
should be short.
"""


def pytest_configure() -> None:
    """A run that a shell starts in the background ignores SIGINT, and so would the programs of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(config.rootpath).as_posix()
        return next((n for n, prefix in enumerate(_FIRST) if path.startswith(prefix)), len(_FIRST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is there after the collection stays until the end: the collector of garbage need not look at it
    again and again, and not often at the rest.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=ALL_STORES,
        default="embedded",
        help="the store that tests run on (default: embedded)",
    )


# rich tracebacks, structlog's default, take a second of processor time each
_LOG_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
]


@pytest.fixture(autouse=True)
def _fresh_process_state() -> Iterator[None]:
    """Sets every metric to zero and configures logging before the test; disarms its failpoints after it."""
    reset_metrics()
    structlog.configure(processors=_LOG_PROCESSORS)
    yield
    failpoints.arm(())


@pytest.fixture(autouse=True)
def _no_loop_block() -> Iterator[None]:
    """Fails a test during which a broker blocked its event loop, in this process or in one of its own."""
    LOOP_BLOCKS.take()
    yield
    blocks = LOOP_BLOCKS.take() + REPORTED_BLOCKS.take()
    if blocks:
        pytest.fail("The event loop was blocked:\n" + "\n".join(blocks), pytrace=False)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(Path(tmp_path_factory.mktemp("store")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreNode]:
    """The oldest server that the broker supports."""
    binary = redis_7_binary()
    if binary is None:
        pytest.skip("no redis-server 7.0 on PATH (Debian 12: apt-get install redis-server)")
    node = StoreNode(Path(tmp_path_factory.mktemp("redis")), binary)
    asyncio.run(node.start())
    yield node
    node.kill()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    """Three primaries with one replica each, running the embedded server's binary."""
    cluster = StoreCluster(Path(tmp_path_factory.mktemp("cluster")))
    asyncio.run(cluster.start())
    yield cluster
    cluster.kill()


@pytest.fixture(scope="session")
def shared_store(request: pytest.FixtureRequest) -> SharedStore:
    """The store named by `--store`, or each store that the test module lists in `STORES`."""
    name: str = getattr(request, "param", None) or request.config.getoption("--store")
    store: EmbeddedServer | StoreNode | StoreCluster = request.getfixturevalue(name)
    return EmbeddedStore(store.url) if isinstance(store, EmbeddedServer) else store


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = getattr(metafunc.module, "STORES", ())
    if names and "shared_store" in metafunc.fixturenames:
        metafunc.parametrize("shared_store", names, indirect=True, scope="session")


@pytest.fixture
async def store(shared_store: SharedStore) -> AsyncIterator[Store]:
    await shared_store.flush()
    store = connect(shared_store.url, LAYOUT)
    await store.open()
    async with redis_client_of(store, shared_store.url):
        yield store
    await store.close()


@pytest.fixture(scope="session")
def key_ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key ring of the brokers that share a store."""
    path: Path = tmp_path_factory.mktemp("key-ring") / "key-ring.json"
    new_ring().write(path, is_new=True)
    return path


@pytest.fixture
def settings(shared_store: SharedStore, key_ring: Path) -> Settings:
    """Settings of a broker on the shared store: it may notify loopback addresses, and it retries quickly."""
    return Settings(
        port=0,
        redis_url=shared_store.url,
        key_ring=key_ring,
        egress_allow=LOOPBACK,
        partitions=LAYOUT.partitions,
        shards=LAYOUT.shards,
        handshake_grace=timedelta(0),
        retry_base=timedelta(milliseconds=40),
        retry_max=timedelta(milliseconds=400),
        retry_budget=timedelta(seconds=20),
        topics_dir=TOPICS,
    )


@functools.cache
def _shipped_topics() -> Catalog:
    return load_catalog(Settings(topics_dir=TOPICS))


def _shipped_catalog() -> Catalog:
    """The topics of the package, which are read once: that takes as long as the rest of a start."""
    catalog = _shipped_topics().empty()
    catalog.replace(_shipped_topics().contents)
    return catalog


@pytest.fixture
def start_broker(store: Store, settings: Settings) -> StartBroker:
    """Starts a broker in this process on an empty store. Further keyword arguments replace settings."""

    @contextlib.asynccontextmanager
    async def start(
        roles: frozenset[Role] = ALL_ROLES,
        *,
        authenticate: Authenticate | None = None,
        mounts: Sequence[HttpRoute] = (),
        mapper: Callable[[], PayloadMapper] | None = None,
        **overrides: Any,
    ) -> AsyncIterator[Running]:
        changed = replace(settings, **overrides)
        async with running(
            changed,
            roles,
            authenticate=authenticate,
            mounts=mounts,
            mapper=mapper,
            catalog=_shipped_catalog() if changed.topics_dir == TOPICS else None,
        ) as broker:
            yield broker

    return start


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker() as running_broker:
        yield running_broker


@pytest.fixture
async def client(broker: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose URLs are relative to the broker: `/r4/Observation`."""
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url,
        headers=headers,
        timeout=60,
        trust_env=False,
        verify=NO_AUTHORITIES,
    ) as client:
        yield client


@pytest.fixture
async def subscriber() -> AsyncIterator[SimulatedSubscriber]:
    async with SimulatedSubscriber() as subscriber:
        yield subscriber
