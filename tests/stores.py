"""Stores for tests: the embedded server, and a server on a loopback port, which tests may break.

`redis_of` gives a test a redis-py client of its own. Every wait has a deadline.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import redis.asyncio as redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from broker.model.subscription import SubscriptionKey
from broker.store.counters import Counters
from broker.store.embedded import die_with_parent, find_binary
from broker.store.keys import Layout
from broker.store.protocol import Store
from broker.store.redis_store import connect
from broker.store.registry import RegistryFollower
from broker.store.subscriptions import Record
from broker.telemetry.store_metrics import StoreCounts
from tests.ports import free_port

START_S = 60.0


def redis_7_binary() -> str | None:
    """Debian's redis-server, the oldest Redis that the broker supports; None where it is not installed."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return path if "v=7.0" in version else None


async def changes_of(follower: RegistryFollower) -> list[tuple[SubscriptionKey, Record | None]]:
    """Everything that changed since the last call."""
    return [changed async for page in follower.pages() for changed in page]


class SharedStore(Protocol):
    """A store that tests share: its URL, and how to empty it."""

    @property
    def url(self) -> str: ...

    async def flush(self) -> None: ...


_CLIENTS: dict[int, Any] = {}


@contextlib.asynccontextmanager
async def redis_client_of(store: Store, url: str) -> AsyncIterator[Any]:
    """A redis-py client of the store at `url`, which `redis_of(store)` returns meanwhile."""
    scheme, _, hosts = url.partition("://")
    if scheme == "redis+cluster":
        client: Any = RedisCluster.from_url(f"redis://{hosts.split(',')[0]}", protocol=2)
    else:
        client = redis.Redis.from_url(url, protocol=2, driver_info=None)
    _CLIENTS[id(store)] = client
    try:
        yield client
    finally:
        del _CLIENTS[id(store)]
        await client.aclose()


def redis_of(store: Store) -> Any:
    """A redis-py client for a test that looks into the store behind the broker's back."""
    return _CLIENTS[id(store)]


@contextlib.contextmanager
def opened_for_examples(shared: SharedStore, layout: Layout) -> Iterator[tuple[asyncio.Runner, Store]]:
    """A store that the examples of a test share, and what runs its coroutines. Each example empties it first:
    to open a store, which loads the scripts, takes as long as an example.
    """
    store = connect(shared.url, layout)
    with asyncio.Runner() as runner:
        runner.run(shared.flush())
        runner.run(store.open())
        try:
            yield runner, store
        finally:
            runner.run(store.close())


async def counts_of(store: Store) -> StoreCounts:
    """The counters of the store."""
    return await Counters(store).read()


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """The embedded server as a `SharedStore`."""

    url: str

    async def flush(self) -> None:
        # to find the name of its own package takes redis-py longer than all the rest
        client = redis.Redis.from_url(self.url, protocol=2, driver_info=None)
        await client.flushall()
        await client.aclose()


class StoreNode:
    """One server on a TCP port of loopback; `kill` and `start` keep its files."""

    def __init__(self, folder: Path, binary: str | None = None, **configuration: str) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._binary = binary or find_binary()
        self._configuration = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **{name.replace("_", "-"): value for name, value in configuration.items()},
        }
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def bus_port(self) -> int:
        return int(self._configuration["cluster-port"])

    def spawn(self) -> None:
        options = [part for name, value in self._configuration.items() for part in (f"--{name}", value)]
        with (self._folder / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binary, *options],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
            )

    async def start(self) -> None:
        """Returns when the server has read its files and replies."""
        self.spawn()
        await self.wait_for_reply()

    async def wait_for_reply(self) -> None:
        async with asyncio.timeout(START_S):
            while not await self._replies():  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.02)

    async def _replies(self) -> bool:
        with contextlib.suppress(RedisError, OSError):
            return bool(await self.ask("PING"))
        return False

    async def ask(self, *command: str | int) -> Any:
        """The reply to one command, from a new connection."""
        client = redis.Redis(
            host="127.0.0.1",
            port=self.port,
            protocol=2,
            decode_responses=True,
            socket_timeout=30,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),  # redis-py would repeat it after a second
        )
        client.response_callbacks.clear()  # the reply as the server sends it
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        finally:
            await client.aclose()

    async def flush(self) -> None:
        await self.ask("FLUSHALL")

    async def lines(self, *command: str) -> dict[str, str]:
        """A reply of `name:value` lines."""
        pairs = (line.partition(":") for line in str(await self.ask(*command)).splitlines())
        return {name: value for name, colon, value in pairs if colon}

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
