"""The connection to Redis or Valkey: scripts loaded, errors translated, and a server refused that would lose data.

Everything that speaks to the store goes through `Server`; a redis error leaves this package only as `StoreUnavailable`.
"""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from broker.errors import ConfigurationError, StoreFull, StoreUnavailable
from broker.store import keys
from broker.store.batcher import Batcher, PipelineExecutor
from broker.store.group_reader import GroupReader
from broker.store.keys import Layout
from broker.store.resp_connection import Argument, Command
from broker.store.scripts.source import NAMES, source_of

P = ParamSpec("P")
R = TypeVar("R")
Durability = Literal["fsync", "everysec"]

MAX_CONNECTIONS = 1_200
"""The client library refuses what goes beyond; many API requests may read at the same moment."""
SETTLE_MS = 5_000


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns the client library's errors into `StoreUnavailable`, the cause kept."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise _away(error) from error


def _away(error: Exception) -> StoreUnavailable:
    if isinstance(error, OutOfMemoryError):
        return StoreFull("the store is out of memory (its maxmemory)")
    return StoreUnavailable(f"the store does not answer: {type(error).__name__}: {error}")


def translating(
    call: Callable[Concatenate[Any, P], Awaitable[R]],
) -> Callable[Concatenate[Any, P], Awaitable[R]]:
    """`translated` around a method, without its cost."""

    @functools.wraps(call)
    async def wrapper(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await call(self, *args, **kwargs)
        except (RedisError, OSError) as error:
            raise _away(error) from error

    return wrapper


class Server:
    """One Redis or Valkey. `open` connects, checks that it is safe, and loads the scripts.

    `replicas` is how many of its replicas must have a durable write before it is answered.
    """

    is_spread = False
    """Whether keys are on several nodes: then one may forget what another remembers."""

    def __init__(
        self,
        url: str,
        layout: Layout,
        *,
        durability: Durability = "fsync",
        replicas: int = 0,
        name: str = "broker",
    ) -> None:
        self.url = url
        self.layout = layout
        self.durability = durability
        self.replicas = replicas
        self._name = name
        self._waits_for_fsync = False
        self._digests: dict[str, str] = {}
        self.client: redis.Redis = self._connection()
        self._pipeliner: PipelineExecutor = self._new_pipeliner()

    def _connection(self) -> redis.Redis:
        return self._client_at(self.url, timeout_s=10.0, repeats=True)

    def reader(self, *, timeout_s: float) -> GroupReader:
        """A reader of consumer groups on a connection of its own; it does not repeat what failed."""
        pool = self._client_at(self.url, timeout_s=None, repeats=False).connection_pool
        return GroupReader(Batcher(pool, timeout_s=timeout_s))

    def _client_at(self, url: str, *, timeout_s: float | None, repeats: bool) -> redis.Redis:
        # its driver's name is looked up in the package's metadata for each connection, most of what a connection costs
        options: dict[str, Any] = {"driver_info": None}
        if not url.startswith("unix"):
            options["socket_keepalive"] = True
        if not repeats:
            options["retry"] = Retry(NoBackoff(), 0)
        return redis.Redis.from_url(
            url,
            protocol=2,
            max_connections=MAX_CONNECTIONS,
            client_name=self._name,
            socket_timeout=timeout_s,
            socket_connect_timeout=5.0,
            **options,
        )

    def _new_pipeliner(self) -> PipelineExecutor:
        return Batcher(self._client_at(self.url, timeout_s=None, repeats=False).connection_pool)

    @translating
    async def open(self, *, allow_unsafe: bool = False) -> None:
        """Raises `ConfigurationError` for a store that may lose what it acknowledged, or one laid out differently."""
        await self._refuse_unsafe(allow_unsafe=allow_unsafe)
        await self._agree_on_layout()
        await self.load_scripts()

    async def _refuse_unsafe(self, *, allow_unsafe: bool) -> None:
        server = await self.client.info("server")
        if "cluster" in {server.get("redis_mode"), server.get("server_mode")}:
            raise ConfigurationError(
                "the store is a node of a Cluster; write BROKER_REDIS_URL=redis+cluster://host:port,host:port with some of its nodes"
            )
        if (await self.client.info("replication"))["role"] != "master":
            raise ConfigurationError(
                "the store is a replica and takes no writes; name its primary in BROKER_REDIS_URL"
            )
        await self._refuse_unsafe_node(self.client, server, allow_unsafe=allow_unsafe)

    async def _refuse_unsafe_node(
        self, node: redis.Redis, server: Mapping[str, Any], *, allow_unsafe: bool
    ) -> None:
        """`server` is what the node's INFO server told."""
        version = str(server.get("valkey_version") or server["redis_version"])
        major, minor = (int(part) for part in version.split(".")[:2])
        if major < 7:
            raise ConfigurationError(
                f"the store is version {version}; Redis 7.0 or Valkey 7.2 is the oldest that works"
            )
        try:
            config = cast(
                "dict[str, str]",
                await node.config_get("maxmemory-policy", "appendonly", "appendfsync", "maxmemory"),
            )
        except ResponseError:
            if allow_unsafe:
                return
            raise ConfigurationError(
                "the store does not let CONFIG GET tell whether it keeps its data; set BROKER_ALLOW_UNSAFE_STORE=true if it does"
            ) from None
        if allow_unsafe:
            return
        if config.get("maxmemory-policy", "noeviction") != "noeviction":
            raise ConfigurationError(
                f"the store evicts data (maxmemory-policy {config['maxmemory-policy']}); set it to noeviction"
            )
        if config.get("appendonly") != "yes":
            raise ConfigurationError(
                "the store keeps no append-only file (appendonly no); set appendonly yes"
            )
        if self.durability == "fsync" and config.get("appendfsync") != "always":
            if (major, minor) < (7, 2):
                raise ConfigurationError(
                    f"the store ({version}) syncs to disk once a second (appendfsync {config.get('appendfsync')}); "
                    "set appendfsync always, or BROKER_DURABILITY=everysec"
                )
            self._waits_for_fsync = True

    async def _agree_on_layout(self) -> None:
        mine = {"partitions": self.layout.partitions, "shards": self.layout.shards}
        held = await self._layout()
        if len(held) < len(mine):  # a store that is out of memory is asked only
            for field, number in mine.items():
                await self.client.hsetnx(keys.LAYOUT, field, str(number))
            held = await self._layout()
        for field, number in mine.items():
            there = int(held[field.encode()])
            if there != number:
                raise ConfigurationError(
                    f"this data set was made with BROKER_{field.upper()}={there}, not {number}; the number can't change later"
                )

    async def _layout(self) -> dict[bytes, bytes]:
        return await cast("Awaitable[dict[bytes, bytes]]", self.client.hgetall(keys.LAYOUT))

    @translating
    async def prepare_group(self, stream: str, group: str) -> None:
        """Creates the consumer group, and the stream, unless they are there: from the beginning of the stream."""
        try:
            if await self.client.xinfo_groups(stream):
                return  # a store that is out of memory is asked only
        except ResponseError as error:
            if not str(error).startswith("no such key"):
                raise
        try:
            await self.client.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    @translating
    async def load_scripts(self) -> None:
        await self._load_scripts_at(self.client)

    async def _load_scripts_at(self, node: redis.Redis) -> None:
        for name in NAMES:
            self._digests[name] = str(await node.script_load(source_of(name)))

    @translating
    async def call(self, script: str, script_keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Runs one script. Each is idempotent: a call whose answer was lost may be repeated."""
        try:
            return (await self._pipeliner.ask([self._evalsha(script, script_keys, arguments)]))[0]
        except NoScriptError:  # the server was restarted or its scripts flushed
            await self.load_scripts()
            return (await self._pipeliner.ask([self._evalsha(script, script_keys, arguments)]))[0]

    @translating
    async def call_many(
        self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]], *, durable: bool = False
    ) -> list[Any]:
        """Runs one script several times in one round trip; an error in any is raised.

        `durable` answers only after what was written is on disk, where the server does not see to that itself, and with as many
        replicas as are waited for.
        """
        for _ in range(2):
            settling: tuple[Command, ...] = self._settling if durable else ()
            commands = [*(self._evalsha(script, *call) for call in calls), *settling]
            answers = await self._pipeliner.exchange(commands, anew=bool(settling))
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self.load_scripts()
                continue
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            self._settle(answers[len(calls) :])
            return answers[: len(calls)]
        raise StoreUnavailable("the store keeps forgetting its scripts")

    async def call_before_sending(
        self, script: str, script_keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        """`call`, for what leads to a notification: where replicas are waited for, they have all that the answer tells.

        So a fail-over never forgets an event number that a subscriber has seen.
        """
        if not self.replicas:
            return await self.call(script, script_keys, arguments)
        return (await self.call_many(script, [(script_keys, arguments)], durable=True))[0]

    @property
    def _settling(self) -> tuple[tuple[str, int, *tuple[int, ...]], ...]:
        """What follows durable writes on their connection, and what is to be reached."""
        synced = (("WAITAOF", 1, 0, SETTLE_MS),) if self._waits_for_fsync else ()
        return (*synced, ("WAIT", self.replicas, SETTLE_MS)) if self.replicas else synced

    def _settle(self, answers: Sequence[Any]) -> None:
        """Raises `StoreUnavailable` for writes that are not as durable as they have to be."""
        for (command, wanted, *_), answer in zip(self._settling, answers, strict=False):
            if isinstance(answer, Exception):
                raise answer
            reached = answer[0] if command == "WAITAOF" else answer
            if reached < wanted:
                seconds = SETTLE_MS // 1000
                raise StoreUnavailable(
                    f"the store did not write to disk within {seconds} s"
                    if command == "WAITAOF"
                    else f"{reached} of {wanted} replicas had it after {seconds} s"
                )

    def _evalsha(
        self, script: str, script_keys: Sequence[str], arguments: Sequence[Argument]
    ) -> tuple[Argument, ...]:
        return ("EVALSHA", self._digests[script], len(script_keys), *script_keys, *arguments)

    @translating
    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Answers of commands that may be repeated, as the server gives them; they ride with those of other callers."""
        return await self._pipeliner.ask(commands)

    @translating
    async def ping(self) -> None:
        await self.client.ping()

    @translating
    async def has_room(self) -> bool:
        """Whether it takes writes: no limit is set for its memory, or it is not reached."""
        memory = await self.client.info("memory")
        counted = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict", 0))
        return not 0 < int(memory["maxmemory"]) <= counted

    async def listen(self, channel: str) -> AsyncIterator[str | None]:
        """Messages of a channel; None after each (re)connection, when some may have been missed."""
        with translated():
            client = await self._listener()
            try:
                # without the client library's own reader, which takes as long for a message as a script does
                connection: redis.Connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
                await connection.send_command("SUBSCRIBE", channel)
                while True:
                    kind, _, text = await connection.read_response()
                    # None only now: what is published from here on arrives
                    yield None if kind == b"subscribe" else cast("bytes", text).decode()
            finally:
                await client.aclose()

    async def _listener(self) -> redis.Redis:
        """A client of one node, for `listen`; it doesn't reconnect by itself: each reconnection is told."""
        return self._client_at(self.url, timeout_s=None, repeats=False)

    async def close(self) -> None:
        await self._pipeliner.close()
        await self.client.aclose()
