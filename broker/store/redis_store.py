"""The store protocol over Redis or Valkey: one server, or a Cluster for the URL schemes `redis+cluster` and
`rediss+cluster`.

`connect` picks the backend; `RedisStore` adds what both have in common: the checks at start, the scripts, the
durability of writes, and the translation of the client library's errors.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import ResponseError

from broker.errors import StoreUnavailable
from broker.store import keys
from broker.store.backend import Backend
from broker.store.cluster import SCHEMES, ClusterConnection
from broker.store.durability import Durability, DurabilityWait, SafetyCheck
from broker.store.failures import translated, watched
from broker.store.keys import Layout
from broker.store.layout_record import LayoutRecord
from broker.store.node_report import NodeReport
from broker.store.protocol import (
    Command,
    ScanPlace,
    ScriptCall,
    StoreUsage,
    StreamReader,
    StreamRow,
    WriteConcern,
)
from broker.store.script_loader import ScriptLoader
from broker.store.server import ServerConnection
from broker.store.slots import slot_of_key


def connect(url: str, layout: Layout, *, durability: Durability = "fsync", replicas: int = 0) -> "RedisStore":
    """The store at a URL, not opened yet. A durable write waits for `replicas` replicas."""
    scripts = ScriptLoader()
    is_cluster = urlsplit(url).scheme in SCHEMES
    backend: Backend = ClusterConnection(url, scripts) if is_cluster else ServerConnection(url, scripts)
    return RedisStore(backend, scripts, layout, durability=durability, replicas=replicas)


class RedisStore:
    """Implements `protocol.Store`. `open` connects, refuses an unsafe server, and loads the scripts."""

    def __init__(
        self,
        backend: Backend,
        scripts: ScriptLoader,
        layout: Layout,
        *,
        durability: Durability,
        replicas: int,
    ) -> None:
        self.layout = layout
        self.is_failing = False
        self.outages = 0
        self.append_channel = keys.CHANGED if backend.is_spread else ""
        self._backend = backend
        self._scripts = scripts
        self._durability: Durability = durability
        self._wait = DurabilityWait(replicas=replicas)

    async def open(self, *, allow_unsafe: bool = False) -> None:
        """Raises `ConfigurationError` for a store that may lose acknowledged writes, or that has another
        layout or schema.
        """
        await self.open_unverified(allow_unsafe=allow_unsafe)
        await LayoutRecord(self).verify()

    @watched
    async def open_unverified(self, *, allow_unsafe: bool = False) -> None:
        """`open` for a data set that may need a migration: does not read the layout record."""
        fsync = await self._backend.check(SafetyCheck(self._durability, allow_unsafe))
        self._wait = DurabilityWait(fsync, self._wait.replicas)
        await self._backend.load_scripts()

    def can_run(self, call: ScriptCall) -> bool:
        return not self._backend.is_spread or len({slot_of_key(key) for key in call.keys}) <= 1

    @watched
    async def run(self, call: ScriptCall, concern: WriteConcern = WriteConcern.REPLY) -> Any:
        if self._waits(concern):
            return (await self._execute([call], self._wait))[0]
        return (await self._backend.send([self._scripts.command(call)]))[0]

    @watched
    async def run_many(
        self, calls: Sequence[ScriptCall], concern: WriteConcern = WriteConcern.REPLY
    ) -> list[Any]:
        return await self._execute(calls, self._wait if self._waits(concern) else None) if calls else []

    async def _execute(self, calls: Sequence[ScriptCall], wait: DurabilityWait | None) -> list[Any]:
        answers = await self._backend.execute([self._scripts.command(call) for call in calls], wait)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _waits(self, concern: WriteConcern) -> bool:
        match concern:
            case WriteConcern.REPLY:
                return False
            case WriteConcern.ORDERED:
                return self._backend.is_spread
            case WriteConcern.REPLICATED:
                return self._wait.replicas > 0
            case WriteConcern.DURABLE:
                return True

    @watched
    async def send(self, commands: Sequence[Command]) -> list[Any]:
        return await self._backend.send(commands)

    @watched
    async def read_streams(self, positions: Mapping[str, bytes], *, count: int) -> list[StreamRow]:
        return await self._backend.read_streams(positions, count) if positions else []

    @watched
    async def await_entries(self, positions: Mapping[str, bytes], *, wait_s: float) -> None:
        await self._backend.await_entries(positions, wait_s)

    @watched
    async def create_group(self, stream: str, group: str) -> None:
        (answer,) = await self._backend.execute([("XINFO", "GROUPS", stream)])
        if answer and not isinstance(answer, Exception):
            return  # only read: the store may be out of memory
        if isinstance(answer, Exception) and not _is_error(answer, "no such key"):
            raise answer
        (answer,) = await self._backend.execute([("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")])
        if isinstance(answer, Exception) and not _is_error(answer, "BUSYGROUP"):
            raise answer

    def stream_reader(self, *, timeout_s: float, group: str | None = None) -> StreamReader:
        return self._backend.stream_reader(timeout_s=timeout_s, group=group)

    async def subscribe(self, channel: str) -> AsyncGenerator[str | None]:
        try:
            with translated():
                async with contextlib.aclosing(self._backend.subscribe(channel)) as messages:
                    async for message in messages:
                        yield message
        except StoreUnavailable:
            self.outages += 1
            raise

    @watched
    async def ping(self) -> None:
        await self._backend.ping()

    @watched
    async def has_room(self) -> bool:
        return all(_has_room(memory) for memory in await self._backend.usage())

    @watched
    async def usage(self) -> StoreUsage:
        nodes = await self._backend.usage()
        names = ("used_memory", "maxmemory", "aof_current_size")
        return StoreUsage(*(sum(int(node.get(name, 0)) for node in nodes) for name in names))

    @watched
    async def node_reports(self) -> list[NodeReport]:
        """How each primary is, for `fhir-broker doctor`."""
        return [NodeReport.of(report) for report in await self._backend.reports()]

    @watched
    async def sample_keys(self, count: int) -> tuple[int, list[bytes]]:
        return await self._backend.sample_keys(count)

    @watched
    async def scan_keys(self, pattern: str, place: ScanPlace) -> tuple[ScanPlace | None, list[bytes]]:
        return await self._backend.scan_keys(pattern, place)

    async def close(self) -> None:
        await self._backend.close()


def _is_error(answer: Exception, beginning: str) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith(beginning)


def _has_room(memory: Mapping[str, Any]) -> bool:
    counted = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict", 0))
    return not 0 < int(memory["maxmemory"]) <= counted
