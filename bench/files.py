"""The append-only file of the embedded store: what producers feel of its rewrites, and how long a start takes
after a crash. The store has a million readings, written as copies (`bench/filling.py`).
"""

import asyncio
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from bench.figures import Figure, latencies, percentile
from bench.filling import fill
from bench.rig import (
    CONNECTIONS,
    ROOT,
    WITH_BYTECODE,
    Program,
    bodies,
    broker,
    free_port,
    fresh_store,
    patients,
    register,
)
from bench.segments import listening
from bench.wire import Producer, Sink
from broker.store.embedded import EmbeddedServer, url_of
from broker.tasks import end

_PER_S = 200.0
_MAX_RATIO = 3.0
_TIMEOUT_S = 600.0


async def measure_rewrite(*, is_quick: bool) -> AsyncIterator[Figure]:
    """The 99th percentile of the answers to producers while the file is rewritten, and while it is not."""
    readings, rounds, seconds = (100_000, 3, 3.0) if is_quick else (1_000_000, 5, 10.0)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        folder_and_server = fresh_store(stack)
        async with broker(store=folder_and_server) as program:
            await _first_reading(program, sink)
        store = await stack.enter_async_context(_client(folder_and_server[1].url))
        await fill(store, readings)
        program = await stack.enter_async_context(broker(store=folder_and_server))
        plain, rewriting = [], []
        for _ in range(rounds):
            await until_idle(store)
            plain.append(await _p99(program, seconds))
            task = asyncio.create_task(_rewrite_until_cancelled(store))
            rewriting.append(await _p99(program, seconds))
            await end([task])
        info: Any = await store.info("persistence")
        yield Figure("rewrite", "readings in the store", readings)
        yield Figure("rewrite", "last rewrite", info["aof_last_rewrite_time_sec"], "s")
        yield Figure("rewrite", "file after a rewrite", info["aof_base_size"] / 1024**2, "MiB")
        yield Figure("rewrite", "p99 of a POST", statistics.median(plain), "ms")
        yield Figure("rewrite", "p99 of a POST during rewrites", statistics.median(rewriting), "ms")
        ratio = statistics.median(slow / fast for slow, fast in zip(rewriting, plain, strict=True))
        yield Figure("rewrite", "p99 during rewrites / without", ratio, at_most=_MAX_RATIO)


async def measure_start(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Seconds from the start of `serve` after a SIGKILL of it and its store until it is ready."""
    readings = 100_000 if is_quick else 1_000_000
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
        )
        served = _Served(folder)
        stack.callback(served.kill)
        yield Figure("start", "empty store", await served.start(), "s")
        program = Program(served.port, "/r4/Observation", url_of(folder), {})
        await _first_reading(program, sink)
        for state in ("as written", "rewritten"):
            served.kill()
            await _change_file(folder, readings if state == "as written" else 0)
            await served.start()  # what is measured begins with the crash of a broker
            async with _client(program.store_url) as store:
                info: Any = await store.info()
            served.kill()
            with contextlib.suppress(ProcessLookupError):  # it ends with its broker
                os.kill(info["process_id"], signal.SIGKILL)
            name = f"{readings:,} readings, file {state}"
            yield Figure("start", f"{name}, size", info["aof_current_size"] / 1024**2, "MiB")
            yield Figure("start", name, await served.start(), "s")
            yield Figure("start", f"{name}, of which the store loads it", _load_s(folder), "s")


async def _change_file(folder: Path, readings: int) -> None:
    """Adds so many readings to the store of the folder, which no broker uses; with 0 rewrites its file."""
    server = EmbeddedServer(folder)
    server.start()
    async with _client(server.url) as store:
        if readings:
            await fill(store, readings)
        else:
            await store.bgrewriteaof()
        await until_idle(store)  # also of a rewrite that the server began by itself
    server.stop()


def _load_s(folder: Path) -> float:
    """How long the store loaded its file at its last start, from its log."""
    return float(re.findall(r"DB loaded from append only file: ([\d.]+) seconds", _log_of(folder))[-1])


def _log_of(folder: Path) -> str:
    return (folder / "valkey.log").read_text(errors="replace")


class _Served:
    """`serve` with its embedded store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> float:
        """Seconds until it is ready."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        settings = {"BROKER_DATA_DIR": str(self._folder), "BROKER_PORT": str(self.port)}
        started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: ASYNC220 before anything else is measured
            [sys.executable, "-m", "broker", "serve"],
            env=inherited | WITH_BYTECODE | settings | {"BROKER_LOG_LEVEL": "error"},
            cwd=ROOT,
            start_new_session=True,
        )
        async with asyncio.timeout(_TIMEOUT_S), httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while not await self._is_ready(client):
                if self._process.poll() is not None:
                    raise RuntimeError("the broker ended before it was ready")
                await asyncio.sleep(0.02)
        return time.perf_counter() - started

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncIterator[redis.Redis]:
    store = redis.Redis.from_url(url, protocol=2, socket_timeout=_TIMEOUT_S)
    try:
        yield store
    finally:
        await store.aclose()


async def _first_reading(program: Program, sink: Sink) -> None:
    """One delivered event, which `fill` copies."""
    names = patients("patient")[:1]
    await register(program, sink, names)
    message = program.message(next(iter(bodies(names, 1))))
    await Producer(program.port).as_fast_as_answered([message], 1)
    await sink.until_events(names[0], 1, _TIMEOUT_S)


async def _p99(program: Program, seconds: float) -> float:
    """The 99th percentile of the answers to POSTs at a steady rate, in ms."""
    messages = [program.message(body) for body in bodies(patients("other"), round(_PER_S * seconds))]
    producer = Producer(program.port)
    await producer.at_rate(messages, _PER_S, CONNECTIONS)
    due = {resource_id: at for resource_id, (_, at) in producer.sent.items()}
    waits = latencies(due, producer.answered)
    return percentile(waits, 0.99) * 1000


async def until_idle(store: redis.Redis) -> None:
    """Until no rewrite is under way or due."""
    while True:
        info: Any = await store.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
            return
        await asyncio.sleep(0.1)


async def _rewrite_until_cancelled(store: redis.Redis) -> None:
    while True:
        await until_idle(store)
        await store.bgrewriteaof()
        await asyncio.sleep(0.1)
