"""The cost of each durability setting: the same changes are appended to one primary with one replica under
different settings.

One change at a time is the wait of a single producer; batches of 64 are what group commit makes of many
producers. The settings take turns within each round, and each is compared with `everysec` of its round.
docs/operating.md describes what each setting can lose.
"""

import contextlib
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio as redis
from redis.exceptions import RedisError

from bench.figures import Figure, paired_ratio
from bench.rig import free_port
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.store.changes import Changes
from broker.store.durability import Durability
from broker.store.embedded import find_binary
from broker.store.keys import Layout
from broker.store.proposals import Proposal
from broker.store.redis_store import connect
from broker.testing.readings import HEART_RATE, observation

BENCH = "durability"
_BATCH = 64
_START_S = 20.0


@dataclass(frozen=True, slots=True)
class Setting:
    """BROKER_DURABILITY, BROKER_REPLICAS, and appendfsync of the servers."""

    name: str
    durability: Durability
    replicas: int
    appendfsync: str


SETTINGS = (
    Setting("everysec", "everysec", 0, "everysec"),
    Setting("fsync, appendfsync always", "fsync", 0, "always"),
    Setting("fsync, WAITAOF", "fsync", 0, "everysec"),
    Setting("everysec, 1 replica", "everysec", 1, "everysec"),
    Setting("fsync, appendfsync always, 1 replica", "fsync", 1, "always"),
)


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, singles, batches = (2, 100, 20) if is_quick else (5, 400, 100)
    alone: dict[str, list[float]] = {setting.name: [] for setting in SETTINGS}
    together: dict[str, list[float]] = {setting.name: [] for setting in SETTINGS}
    async with contextlib.AsyncExitStack() as stack:
        primary, replica = await _pair(stack)
        ids = itertools.count()
        for _ in range(rounds):
            for setting in SETTINGS:
                for port in (primary, replica):
                    await _ask(port, "CONFIG", "SET", "appendfsync", setting.appendfsync)
                store = connect(
                    f"redis://127.0.0.1:{primary}",
                    Layout(16, 16),
                    durability=setting.durability,
                    replicas=setting.replicas,
                )
                await store.open()
                changes = Changes(store, keep_ms=60_000)
                await changes.append([_proposal(ids)])
                alone[setting.name].append(await _seconds(changes, ids, singles, 1))
                together[setting.name].append(await _seconds(changes, ids, batches, _BATCH))
                await store.close()
    first = SETTINGS[0].name
    for setting in SETTINGS:
        one_ms = statistics.median(alone[setting.name]) / singles * 1000
        per_s = batches * _BATCH / statistics.median(together[setting.name])
        yield Figure(BENCH, f"one change, {setting.name}", one_ms, "ms")
        yield Figure(BENCH, f"batches of {_BATCH}, {setting.name}", per_s, "changes/s")
    for setting in SETTINGS[1:]:
        ratio = paired_ratio(alone[setting.name], alone[first])
        yield Figure(BENCH, f"time of one change, {setting.name} / {first}", ratio)
        ratio = paired_ratio(together[setting.name], together[first])
        yield Figure(BENCH, f"time of a batch, {setting.name} / {first}", ratio)


async def _seconds(changes: Changes, ids: Iterator[int], times: int, size: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        await changes.append([_proposal(ids) for _ in range(size)])
    return time.perf_counter() - started


def _proposal(ids: Iterator[int]) -> Proposal:
    resource_id = f"o{next(ids)}"
    reading = json.dumps(observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)).encode()
    return Proposal(DEFAULT_TENANT, "put", "Observation", resource_id, Release.R4, b"}," + reading[1:])


async def _pair(stack: contextlib.AsyncExitStack) -> tuple[int, int]:
    """Starts a primary and a replica and waits until they are in sync. Their ports."""
    primary, replica = _spawn(stack), _spawn(stack)
    for port in (primary, replica):
        await _until_answered(port, "PING", "PONG")
    await _ask(replica, "REPLICAOF", "127.0.0.1", str(primary))
    await _until_answered(replica, "INFO", "master_link_status:up", "replication")
    return primary, replica


def _spawn(stack: contextlib.AsyncExitStack) -> int:
    folder = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
    )
    port = free_port()
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "yes", "save": ""}
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 a fixed program with our own arguments
            [find_binary(), *options, "--repl-diskless-sync-delay", "0"], stdout=log, stderr=log
        )

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return port


async def _until_answered(port: int, command: str, wanted: str, *arguments: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError, OSError):
            if wanted in await _ask(port, command, *arguments):
                return
    raise RuntimeError(f"the store at port {port} did not start")


async def _ask(port: int, *command: str) -> str:
    client = redis.Redis(port=port, protocol=2, decode_responses=True)
    client.response_callbacks.clear()
    try:
        return str(await client.execute_command(*command))  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    finally:
        await client.aclose()
