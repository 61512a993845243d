"""The connection to one Redis or Valkey server, as `RedisStore` uses it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import redis.asyncio as redis
from redis.exceptions import NoScriptError

from broker.errors import ConfigurationError, StoreUnavailable
from broker.store.batcher import Batcher
from broker.store.clients import client_at, pool_at
from broker.store.durability import DurabilityWait, SafetyCheck
from broker.store.protocol import Command, ScanPlace, StreamReader, StreamRow
from broker.store.replies import key_sample, key_sample_commands, rows_of, scan_command
from broker.store.script_loader import ScriptLoader
from broker.store.stream_reader import ServerStreamReader, verb_of

_TIMEOUT_S = 10.0


class ServerConnection:
    """One server: commands through a `Batcher`, administration through a redis-py client."""

    is_spread = False

    def __init__(self, url: str, scripts: ScriptLoader) -> None:
        self._url = url
        self._scripts = scripts
        self._client = client_at(url, timeout_s=_TIMEOUT_S, retries=True)
        self._batcher = Batcher(pool_at(url))

    async def check(self, safety: SafetyCheck) -> bool:
        server = await self._client.info("server")
        if "cluster" in {server.get("redis_mode"), server.get("server_mode")}:
            raise ConfigurationError(
                "the store is a node of a Cluster; "
                "write BROKER_REDIS_URL=redis+cluster://host:port,host:port with some of its nodes"
            )
        if (await self._client.info("replication"))["role"] != "master":
            raise ConfigurationError(
                "the store is a replica and takes no writes; name its primary in BROKER_REDIS_URL"
            )
        return await safety.needs_fsync_wait(self._client, server)

    async def load_scripts(self) -> None:
        await self._scripts.load(self._client)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._batcher.send(commands)
        except NoScriptError:  # the server was restarted or its scripts were flushed
            await self.load_scripts()
            return await self._batcher.send(commands)

    async def execute(self, commands: Sequence[Command], wait: DurabilityWait | None = None) -> list[Any]:
        waiting = wait.commands if wait else []
        sent = [*commands, *waiting]
        for _ in range(2):
            answers = await self._batcher.exchange(sent, resend_all=bool(waiting))
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self.load_scripts()
                continue
            if wait and not any(isinstance(answer, Exception) for answer in answers[: len(commands)]):
                wait.check(answers[len(commands) :])
            return answers[: len(commands)]
        raise StoreUnavailable("the store lost its scripts while they were loaded; is SCRIPT FLUSH running?")

    async def read_streams(self, positions: Mapping[str, bytes], count: int) -> list[StreamRow]:
        command: Command = ("XREAD", "COUNT", count, "STREAMS", *positions.keys(), *positions.values())
        (answer,) = await self._batcher.send([command])
        return rows_of(answer)

    async def await_entries(self, positions: Mapping[str, bytes], wait_s: float) -> None:
        # one entry of each stream at most: the caller reads them all when it is ready
        block_ms = max(1, int(wait_s * 1000))
        streams: Command = ("STREAMS", *positions, *positions.values())
        command: Command = ("XREAD", "COUNT", 1, "BLOCK", block_ms, *streams)
        (answer,) = await self._batcher.exchange([command])
        if isinstance(answer, Exception):
            raise answer

    def stream_reader(self, *, timeout_s: float, group: str | None = None) -> StreamReader:
        return ServerStreamReader(Batcher(pool_at(self._url), timeout_s=timeout_s), verb_of(group))

    async def subscribe(self, channel: str) -> AsyncGenerator[str | None]:
        # this client does not reconnect by itself, because the caller must learn of every reconnection
        client = client_at(self._url, timeout_s=None, retries=False)
        try:
            # not redis-py's PubSub, which takes as long for a message as the server takes for a script
            connection: redis.Connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            await connection.send_command("SUBSCRIBE", channel)
            while True:
                kind, _, text = await connection.read_response()
                # not before the reply: from here on no message is missed
                yield None if kind == b"subscribe" else cast("bytes", text).decode()
        finally:
            await client.aclose()

    async def ping(self) -> None:
        await self._client.ping()

    async def usage(self) -> list[Mapping[str, Any]]:
        return [await self._client.info("memory", "persistence")]

    async def reports(self) -> list[Mapping[str, Any]]:
        return [await self._client.info("server", "memory", "persistence")]

    async def sample_keys(self, count: int) -> tuple[int, list[bytes]]:
        return key_sample(await self._batcher.send(key_sample_commands(count)))

    async def scan_keys(self, pattern: str, place: ScanPlace) -> tuple[ScanPlace | None, list[bytes]]:
        ((cursor, names),) = await self._batcher.send([scan_command(pattern, place)])
        return (ScanPlace(0, int(cursor)) if int(cursor) else None), names

    async def close(self) -> None:
        await self._batcher.close()
        await self._client.aclose()
