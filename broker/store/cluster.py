"""The connection to a Redis or Valkey Cluster, as `RedisStore` uses it.

Partitions and shards are hash tags, so each script stays within one slot; commands for several slots go out
as one command a slot. Nodes may fail, take over and hand slots on while the broker runs (`routing.py`). What
each durability setting can lose: docs/operating.md.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.exceptions import RedisError, ResponseError

from broker.errors import ConfigurationError
from broker.store import keys
from broker.store.batcher import TIMEOUT_S, Batcher
from broker.store.clients import client_at, pool_at
from broker.store.durability import DurabilityWait, SafetyCheck
from broker.store.protocol import Command, ScanPlace, StreamReader, StreamRow
from broker.store.replies import key_sample, key_sample_commands, scan_command
from broker.store.routing import ClusterNode, Router
from broker.store.script_loader import ScriptLoader
from broker.store.slots import Address, Topology
from broker.store.stream_reader import ClusterStreamReader, verb_of
from broker.store.stream_signals import StreamSignals

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_DEFAULT_PORT = 6379
_TOPOLOGY_TIMEOUT_S = 2.0
CHECK_S = 3.0
"""How often a subscription asks whether the Cluster has changed."""
POLL_S = 1.0
"""How often streams in several slots are read while their reader waits for entries."""
UNSURE_S = 10.0
"""How long after a change of the Cluster messages may be lost between its nodes."""


class ClusterConnection:
    """A Cluster. `url` names some of its nodes: `redis+cluster://user:password@host:port,host:port`."""

    is_spread = True

    def __init__(self, url: str, scripts: ScriptLoader) -> None:
        self._urls = _NodeUrls(url)
        self._scripts = scripts
        self._topology = Topology(self._urls.seeds, self._topology_client)
        self._router = self._new_router(timeout_s=TIMEOUT_S, repeats=True)
        self._epoch = ClusterEpoch(self._router)

    def _topology_client(self, address: Address) -> redis.Redis:
        return client_at(self._urls.of(address), timeout_s=_TOPOLOGY_TIMEOUT_S, retries=False)

    def _new_router(self, *, timeout_s: float, repeats: bool) -> Router:
        def node_at(address: Address) -> ClusterNode:
            url = self._urls.of(address)
            # the router decides what to repeat: another node may be the one that answers next
            client = client_at(url, timeout_s=timeout_s, retries=False)
            return ClusterNode(client, Batcher(pool_at(url), timeout_s=timeout_s))

        return Router(self._topology, node_at, self._scripts, repeats=repeats)

    async def check(self, safety: SafetyCheck) -> bool:
        try:
            await self._topology.refresh(self._topology.revision)
        except ResponseError as error:
            if "cluster support disabled" not in str(error):
                raise
            raise ConfigurationError(
                "the store is one server and no Cluster; write BROKER_REDIS_URL=redis://host:port"
            ) from None
        if self._topology.uncovered:
            raise ConfigurationError(
                f"{self._topology.uncovered} of the Cluster's 16384 hash slots are served by no node; "
                "assign them first"
            )
        needs_fsync_wait = False
        for address in (*self._topology.primaries, *self._topology.replicas):
            node = self._topology_client(address)
            try:
                needs_fsync_wait |= await safety.needs_fsync_wait(node, await node.info("server"))
            except ConfigurationError as error:
                raise ConfigurationError(f"{address[0]}:{address[1]}: {error}") from None
            except (RedisError, OSError):
                if address in self._topology.primaries:
                    raise
                # an unavailable replica takes over from nobody; it is checked when the broker starts the next
                # time
            finally:
                await node.aclose()
        return needs_fsync_wait

    def _primaries(self) -> list[ClusterNode]:
        return [self._router.node(address) for address in self._topology.primaries]

    async def load_scripts(self) -> None:
        for node in self._primaries():
            await self._scripts.load(node.client)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._router.run(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def execute(self, commands: Sequence[Command], wait: DurabilityWait | None = None) -> list[Any]:
        return await self._router.run(commands, wait)

    async def read_streams(self, positions: Mapping[str, bytes], count: int) -> list[StreamRow]:
        return await self._router.read_streams(["XREAD", "COUNT", count], positions)

    async def await_entries(self, _positions: Mapping[str, bytes], wait_s: float) -> None:
        """A node blocks on the streams of one slot only, so the caller reads once in `POLL_S`."""
        await asyncio.sleep(min(wait_s, POLL_S))

    def stream_reader(self, *, timeout_s: float, group: str | None = None) -> StreamReader:
        router = self._new_router(timeout_s=timeout_s, repeats=False)
        signals = StreamSignals(lambda: self.subscribe(keys.CHANGED))
        return ClusterStreamReader(router, signals, verb_of(group))

    async def subscribe(self, channel: str) -> AsyncGenerator[str | None]:
        """Messages from any one node: each node passes on what is published at another.

        Nodes that have lost each other pass nothing on, and a node that hangs sends nothing. So the
        subscription ends when the Cluster has changed (the caller subscribes again), and yields None now and
        then for a while after that.
        """
        client = client_at(self._urls.of(await self._any_primary()), timeout_s=None, retries=False)
        pubsub = client.pubsub()
        try:
            await pubsub.subscribe(channel)
            epoch, next_check = await self._epoch.current(), time.monotonic() + CHECK_S
            while await self._epoch.current() == epoch:
                message = await pubsub.get_message(timeout=CHECK_S)
                if message is not None and message["type"] == "message":
                    yield cast("bytes", message["data"]).decode()
                elif message is not None or (time.monotonic() >= next_check and self._epoch.is_unsure):
                    next_check = time.monotonic() + CHECK_S
                    yield None
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            await client.aclose()

    async def _any_primary(self) -> Address:
        await self._topology.refresh(self._topology.revision)
        address = self._topology.primary(None)
        if address is None:
            raise ConnectionError("no node of the Cluster is known")
        return address

    async def ping(self) -> None:
        try:
            await self._ping_primaries()
        except (RedisError, OSError):
            await self._topology.refresh(self._topology.revision)  # another node may have taken over
            await self._ping_primaries()

    async def _ping_primaries(self) -> None:
        for node in self._primaries():
            await node.client.ping()

    async def usage(self) -> list[Mapping[str, Any]]:
        return [await node.client.info("memory", "persistence") for node in self._primaries()]

    async def reports(self) -> list[Mapping[str, Any]]:
        return [await node.client.info("server", "memory", "persistence") for node in self._primaries()]

    async def sample_keys(self, count: int) -> tuple[int, list[bytes]]:
        total = 0
        names: list[bytes] = []
        for node in self._primaries():
            number, some = key_sample(await node.batcher.send(key_sample_commands(count)))
            total, names = total + number, names + some
        return total, names

    async def scan_keys(self, pattern: str, place: ScanPlace) -> tuple[ScanPlace | None, list[bytes]]:
        primaries = self._primaries()
        ((cursor, names),) = await primaries[place.node].batcher.send([scan_command(pattern, place)])
        if int(cursor):
            return ScanPlace(place.node, int(cursor)), names
        is_last = place.node + 1 == len(primaries)
        return (None if is_last else ScanPlace(place.node + 1, 0)), names

    async def close(self) -> None:
        await self._router.close()


class ClusterEpoch:
    """The Cluster's epoch, which grows whenever a node takes over or slots change hands. Asked for once in
    `CHECK_S`.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._lock = asyncio.Lock()
        self._epoch = b""
        self._asked_at = self._changed_at = -math.inf

    @property
    def is_unsure(self) -> bool:
        """Whether the Cluster changed so recently that messages may be lost."""
        return time.monotonic() < self._changed_at + UNSURE_S

    async def current(self) -> bytes:
        async with self._lock:
            if time.monotonic() >= self._asked_at + CHECK_S:
                (reply,) = await self._router.run([("CLUSTER", "INFO")])
                if isinstance(reply, Exception):
                    raise reply
                self._asked_at = time.monotonic()
                lines = cast("bytes", reply).splitlines()
                epoch = next(line for line in lines if line.startswith(b"cluster_current_epoch:"))
                if epoch != self._epoch:
                    self._epoch, self._changed_at = epoch, self._asked_at
        return self._epoch


class _NodeUrls:
    """URLs of the nodes, with the scheme, credentials and query of the Cluster's URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        self._scheme = SCHEMES[parts.scheme]
        self._userinfo = f"{userinfo}@" if userinfo else ""
        self._query = f"?{parts.query}" if parts.query else ""
        self.seeds = [_address(host) for host in hosts.split(",")]

    def of(self, address: Address) -> str:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{self._userinfo}{shown}:{port}{self._query}"


def _address(text: str) -> Address:
    parts = urlsplit(f"redis://{text}")
    return parts.hostname or "", parts.port or _DEFAULT_PORT
