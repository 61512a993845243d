"""The measured programs: the broker in one process or several, or the floor, each with its own store.

Every program uses the embedded server's binary on a fresh data set, with the durability that the broker
promises. The measuring process acts as producer and subscriber (`wire`). CPU times are those of the operating
system (Linux only); without them, the figures are left out.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import redis.asyncio as redis

from bench.wire import Producer, Sink, request
from broker.model.change import DEFAULT_TENANT
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store.embedded import EmbeddedServer
from broker.store.keys import Layout
from broker.store.redis_store import connect
from broker.store.subscriptions import Record, Subscriptions
from broker.store.topics import Topics
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription

ROOT = Path(__file__).resolve().parent.parent
TOPIC = "http://fhir-broker.org/topics/vital-signs"
CONNECTIONS = 64
PATIENTS = 200
START_S = 120.0
LAYOUT = Layout(partitions=16, shards=16)
SETTINGS = {
    "egress_allow": "127.0.0.0/8",
    "handshakes_per_host": "0",
    "log_level": "error",
    "request_rate": "0",
    "retry_base": "100ms",
    "retry_max": "1s",
}
WITH_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""A checkout may forbid it, and an installed wheel has it: measured programs start as installed ones do."""
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Program:
    """A running broker or floor. `authorization` is the header of requests to one with access control."""

    port: int
    path: str
    store_url: str
    pids: Mapping[str, int]
    authorization: str = ""

    def message(self, body: bytes) -> bytes:
        return request(self.path, body, self.authorization)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path.rpartition('/')[0]}"

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process so far."""
        return {name: _cpu_s(pid) for name, pid in self.pids.items()}


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _started(
    stack: contextlib.AsyncExitStack,
    arguments: Sequence[str],
    settings: Mapping[str, str],
    port: int,
    folder: Path,
    source: Path = ROOT,
) -> int:
    """Starts a module as a process that ends with the stack, and waits until it is ready. Its pid."""
    process = await start_ready(arguments, settings, port, folder, source)
    stack.callback(_end, process)
    return process.pid


async def start_ready(
    arguments: Sequence[str], settings: Mapping[str, str], port: int, folder: Path, source: Path = ROOT
) -> "subprocess.Popen[bytes]":
    """Starts a module as a process and waits until it is ready.

    Raises `RuntimeError` with the end of its log if it does not become ready.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 our own modules, before anything is measured
            [sys.executable, "-m", *arguments],
            env=inherited | WITH_BYTECODE | dict(settings),
            cwd=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = asyncio.get_running_loop().time() + START_S
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while asyncio.get_running_loop().time() < deadline and process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        return process
                await asyncio.sleep(0.02)
    except BaseException:
        _end(process)
        raise
    _end(process)
    raise RuntimeError(f"{' '.join(arguments)} did not start: {log.read_text(errors='replace')[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def fresh_store(stack: contextlib.AsyncExitStack) -> tuple[Path, EmbeddedServer]:
    """A folder and an empty store in it, which end with the stack."""
    folder = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
    )
    store = EmbeddedServer(folder / "store")
    store.start()
    stack.callback(store.stop)
    return folder, store


def _pid_of(store: EmbeddedServer) -> dict[str, int]:
    return {} if store.process is None else {"store": store.process.pid}


@contextlib.asynccontextmanager
async def floor(sink: Sink) -> AsyncIterator[Program]:
    """The floor: one process with its own store."""
    async with contextlib.AsyncExitStack() as stack:
        folder, store = fresh_store(stack)
        port = free_port()
        settings = {"FLOOR_PORT": str(port), "FLOOR_STORE": store.url, "FLOOR_TARGET": sink.url("floor")}
        pid = await _started(stack, ["bench.floor"], settings, port, folder)
        yield Program(port, "/events", store.url, {"floor": pid} | _pid_of(store))


@contextlib.asynccontextmanager
async def broker(
    commands: Sequence[str] = ("serve",),
    *,
    release: str = "r4",
    store: tuple[Path, EmbeddedServer] | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    source: Path = ROOT,
) -> AsyncIterator[Program]:
    """A broker with these processes, the first of which accepts requests.

    With a `store` it can start again on the data that a former one left. `source` is the directory of another
    version of the broker, to compare with.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder, server = store or fresh_store(stack)
        port, pids = 0, {}
        for n, command in enumerate(commands):
            own_port = free_port()
            port = port or own_port
            own = {
                "redis_url": server.url,
                "port": str(own_port),
                "base_url": f"http://127.0.0.1:{port}",
            }
            all_settings = {**SETTINGS, **settings, **own}
            named = {f"BROKER_{name.upper()}": value for name, value in all_settings.items()}
            pids[f"{command} {n}" if len(commands) > 1 else command] = await _started(
                stack, ["broker", command], named, own_port, folder, source
            )
        yield Program(port, f"/{release}/Observation", server.url, pids | _pid_of(server))


async def register_idle(program: Program, sink: Sink, count: int, *, start: int = 0) -> None:
    """Registers subscriptions through the API, each to a patient without changes, and waits for their
    handshakes. Their numbers begin with `start`.
    """
    documents = (
        subscription("r4", TOPIC, sink.url("idle"), filters=[f"patient=Patient/idle-{start + n}"])
        for n in range(count)
    )
    path = f"{program.path.rpartition('/')[0]}/Subscription"
    messages = [request(path, json.dumps(document).encode()) for document in documents]
    sink.reset()
    await Producer(program.port).as_fast_as_answered(messages, CONNECTIONS)
    await sink.until(lambda: sink.requests >= count, 60 + count / 50)


async def reload_topics(program: Program) -> None:
    """Asks the program to read its topics folder again."""
    server = connect(program.store_url, LAYOUT)
    try:
        await Topics(server).announce_folders()
    finally:
        await server.close()


async def register(
    program: Program,
    sink: Sink,
    names: Iterable[str],
    *,
    content: str = "id-only",
    max_count: int | None = None,
    patient: str | None = None,
    is_spread: bool = False,
) -> list[str]:
    """Subscribes an endpoint for each name to the patient of that name (or to `patient`) and waits until all
    are active.

    With `is_spread`, each endpoint has its own port. The ids of the subscriptions.
    """
    documents = (
        subscription(
            "r4",
            TOPIC,
            sink.url(name, n if is_spread else 0),
            content=content,
            filters=[f"patient=Patient/{patient or name}"],
            max_count=max_count,
            timeout_s=5,
        )
        for n, name in enumerate(list(names))
    )
    return await register_documents(program, documents)


async def register_documents(program: Program, documents: Iterable[dict[str, Any]]) -> list[str]:
    """Registers Subscriptions and waits until all are active. Their ids."""
    ids: list[str] = []
    pending = iter(documents)
    headers = {"Authorization": program.authorization} if program.authorization else {}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:

        async def work() -> None:
            for document in pending:
                registered = await register_subscription(client, program.base, document)
                ids.append(registered["id"])

        async with asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(work())
    await _until(program, ids, lambda record: record.subscription.status is SubscriptionStatus.ACTIVE, 60)
    return ids


async def until_numbered(program: Program, ids: Sequence[str], count: int, timeout_s: float) -> None:
    """Until each of the subscriptions has `count` events, so that nothing is left for the matcher."""
    await _until(program, ids, lambda record: record.count >= count, timeout_s)


async def _until(
    program: Program, ids: Sequence[str], holds: Callable[[Record], bool], timeout_s: float
) -> None:
    server = connect(program.store_url, LAYOUT)
    try:
        wanted = [(DEFAULT_TENANT, SubscriptionId(each)) for each in ids]
        async with asyncio.timeout(timeout_s):
            while wanted:
                records = await Subscriptions(server).many(wanted)
                wanted = [
                    key
                    for key, record in zip(wanted, records, strict=True)
                    if record is None or not holds(record)
                ]
                await asyncio.sleep(0.02)
    finally:
        await server.close()


def patients(prefix: str, count: int = PATIENTS) -> list[str]:
    return [f"{prefix}-{n}" for n in range(count)]


def bodies(names: Sequence[str], count: int) -> list[bytes]:
    """Heart rates of the patients in turn."""
    return [
        json.dumps(
            observation(HEART_RATE, names[n % len(names)], "2025-03-01T08:00:00Z", 55 + n % 75),
            separators=(",", ":"),
        ).encode()
        for n in range(count)
    ]


async def commands_per_s(program: Program, seconds: float) -> float:
    """The commands per second that the store receives, without those inside scripts."""
    client = redis.Redis.from_url(program.store_url, protocol=2, socket_timeout=None)
    count = 0
    try:
        async with client.monitor() as monitor:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for command in monitor.listen():
                        count += command["client_type"] != "lua"
    finally:
        await client.aclose()
    return count / seconds
