"""A Redis or Valkey Cluster behind the same interface as one server.

Partitions and shards are hash tags, so each script stays within one slot; what touches several goes out as one command a slot. Nodes
may fail, take over and hand slots on while the broker runs (`routing.py`). What each durability setting can lose: docs/operating.md.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.exceptions import RedisError, ResponseError

from broker.errors import ConfigurationError
from broker.store import keys
from broker.store.batcher import Batcher, PipelineExecutor
from broker.store.group_reader import GroupReader
from broker.store.keys import Layout
from broker.store.resp_connection import Argument
from broker.store.routing import Node, Routed, RoutedClient
from broker.store.server import Durability, Server, translated, translating
from broker.store.slots import Address, Topology
from broker.store.stream_signals import StreamSignals

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_DEFAULT_PORT = 6379
_TOPOLOGY_TIMEOUT_S = 2.0
CHECK_S = 3.0
UNSURE_S = 10.0


def store_at(url: str, layout: Layout, *, durability: Durability = "fsync", replicas: int = 0) -> Server:
    """The store of a URL: a Cluster for `redis+cluster://` and `rediss+cluster://`, else one server."""
    kind = Cluster if urlsplit(url).scheme in SCHEMES else Server
    return kind(url, layout, durability=durability, replicas=replicas)


class Cluster(Server):
    """A Cluster. `url` names some of its nodes: `redis+cluster://user:password@host:port,host:port`."""

    is_spread = True

    def __init__(
        self,
        url: str,
        layout: Layout,
        *,
        durability: Durability = "fsync",
        replicas: int = 0,
        name: str = "broker",
    ) -> None:
        parts = urlsplit(url)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        self._scheme = SCHEMES[parts.scheme]
        self._userinfo = f"{userinfo}@" if userinfo else ""
        self._query = f"?{parts.query}" if parts.query else ""
        self._topology = Topology([_address(host) for host in hosts.split(",")], self._asking)
        self._asking_epoch = asyncio.Lock()
        self._epoch_told = ""
        self._epoch_asked_at = self._changed_at = -math.inf
        super().__init__(url, layout, durability=durability, replicas=replicas, name=name)

    def _url_of(self, address: Address) -> str:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{self._userinfo}{shown}:{port}{self._query}"

    def _asking(self, address: Address) -> redis.Redis:
        return self._client_at(self._url_of(address), timeout_s=_TOPOLOGY_TIMEOUT_S, repeats=False)

    def _connection(self) -> redis.Redis:
        # it has the commands and pipelines that this package uses
        return cast("redis.Redis", self._routed_client(timeout_s=10.0, repeats=True))

    def reader(self, *, timeout_s: float) -> GroupReader:
        # it reads groups as well
        return cast("GroupReader", self._routed_client(timeout_s=timeout_s, repeats=False))

    def _routed_client(self, *, timeout_s: float, repeats: bool) -> RoutedClient:
        def node_at(address: Address) -> Node:
            url = self._url_of(address)
            # what is repeated is decided by the router: another node may be the one that answers next
            client = self._client_at(url, timeout_s=timeout_s, repeats=False)
            return Node(client, Batcher(self._client_at(url, timeout_s=None, repeats=False).connection_pool))

        rings = StreamSignals(lambda: self.listen(keys.CHANGED))
        return RoutedClient(self._topology, node_at, self._load_scripts_at, rings, repeats=repeats)

    def _new_pipeliner(self) -> PipelineExecutor:
        return self._routed

    @property
    def _routed(self) -> RoutedClient:
        return cast("RoutedClient", self.client)

    async def _refuse_unsafe(self, *, allow_unsafe: bool) -> None:
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
                f"{self._topology.uncovered} of the Cluster's 16384 hash slots are served by no node; assign them first"
            )
        for address in (*self._topology.primaries, *self._topology.replicas):
            node = self._asking(address)
            try:
                await self._refuse_unsafe_node(node, await node.info("server"), allow_unsafe=allow_unsafe)
            except ConfigurationError as error:
                raise ConfigurationError(f"{address[0]}:{address[1]}: {error}") from None
            except (RedisError, OSError):
                if address in self._topology.primaries:
                    raise
                # a replica that is away takes over from nobody; it is looked at when the broker starts the next time
            finally:
                await node.aclose()

    @translating
    async def load_scripts(self) -> None:
        for address in self._topology.primaries:
            await self._load_scripts_at(self._routed.node(address).client)

    @translating
    async def call_many(
        self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]], *, durable: bool = False
    ) -> list[Any]:
        """As on one server: one round trip a node, each node's writes settled on the connection that made them."""
        commands = [Routed(self._evalsha(script, *call)) for call in calls]
        settling = self._settling if durable else ()
        answers = await self._routed.run(commands, settling, self._settle if settling else None, is_raw=True)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    @translating
    async def ping(self) -> None:
        """Every primary."""
        try:
            await self._ping_primaries()
        except (RedisError, OSError):
            await self._topology.refresh(self._topology.revision)  # another may have taken over
            await self._ping_primaries()

    async def _ping_primaries(self) -> None:
        for address in self._topology.primaries:
            await self._routed.node(address).client.ping()

    async def listen(self, channel: str) -> AsyncIterator[str | None]:
        """As on one server, from any one node: each passes on what is published at another.

        Nodes that look for each other pass nothing on, and one that hangs says nothing. So it ends when the Cluster has changed, to be
        listened to anew, and gives None every now and then for a while after that.
        """
        with translated():
            client = await self._listener()
            pubsub = client.pubsub()
            try:
                await pubsub.subscribe(channel)
                epoch, looks_at = await self._epoch(), time.monotonic() + CHECK_S
                while await self._epoch() == epoch:
                    message = await pubsub.get_message(timeout=CHECK_S)
                    if message is not None and message["type"] == "message":
                        yield cast("bytes", message["data"]).decode()
                    elif message is not None or self._looks_again(looks_at):
                        looks_at = time.monotonic() + CHECK_S
                        yield None
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                await client.aclose()

    def _looks_again(self, looks_at: float) -> bool:
        now = time.monotonic()
        return now >= looks_at and now < self._changed_at + UNSURE_S

    async def _epoch(self) -> str:
        """Grows whenever a node takes over or slots change hands; asked for once in `CHECK_S`, whoever wants to know."""
        async with self._asking_epoch:
            if time.monotonic() >= self._epoch_asked_at + CHECK_S:
                told = await self.client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                self._epoch_asked_at = time.monotonic()
                if told["cluster_current_epoch"] != self._epoch_told:
                    self._epoch_told, self._changed_at = told["cluster_current_epoch"], self._epoch_asked_at
        return self._epoch_told

    async def _listener(self) -> redis.Redis:
        """Any node will do: a message published at one is passed on by all."""
        await self._topology.refresh(self._topology.revision)
        address = self._topology.primary(None)
        if address is None:
            raise ConnectionError("no node of the Cluster is known")
        return self._client_at(self._url_of(address), timeout_s=None, repeats=False)


def _address(text: str) -> Address:
    parts = urlsplit(f"redis://{text}")
    return parts.hostname or "", parts.port or _DEFAULT_PORT
