"""Brokers and stores as child processes that tests start, suspend and kill. Every wait has a deadline."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import httpx

from broker.store.embedded import find_binary
from tests.ports import free_port
from tests.spawning import Process, dies_with_parent, spawn_broker

START_S = 60.0
GATEWAY_ATTEMPTS = 240
"""A gateway repeats a request for a minute: longer than a process needs to restart on a loaded machine."""


class _Child:
    """A child process."""

    process: Process | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL: the process does not drain."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def suspend(self) -> None:
        """SIGSTOP: the process keeps its connections and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def until_ended(self, within_s: float) -> bool:
        """Whether the process ends by itself within this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.is_running:  # noqa: ASYNC110 a process sets no event
                    await asyncio.sleep(0.02)
        return not self.is_running

    def resident_bytes(self) -> int:
        """The resident memory of the process (Linux)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class StoreProcess(_Child):
    """A Valkey server that a test can kill and restart on the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "store.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        command = [find_binary(), "--port", "0", "--unixsocket", str(self.path), "--dir", str(self._folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._folder / "store.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 a test may block for a fork
                command,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
            )
        async with asyncio.timeout(START_S):
            while not self.ask("PING", timeout_s=1).startswith("+PONG"):  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.02)

    def configure(self, name: str, value: str) -> None:
        answer = self.ask(f"CONFIG SET {name} {value}")
        assert answer.startswith("+OK"), answer

    def used_memory(self) -> int:
        """The size of the data set in bytes, as the server counts it for maxmemory."""
        lines = self.ask("INFO memory", 16_384).splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("used_memory:"))

    def ask(self, command: str, max_bytes: int = 512, timeout_s: float = START_S) -> str:
        """The first bytes of the answer to a command; '' without an answer."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout_s)
            probe.connect(str(self.path))
            probe.sendall(command.encode() + b"\r\n")
            return probe.recv(max_bytes).decode(errors="replace")
        return ""


class BrokerProcess(_Child):
    """`fhir-broker COMMAND` with its own settings; `base` is its URL."""

    def __init__(
        self,
        command: str,
        folder: Path,
        name: str = "",
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
        **settings: str,
    ) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.command = command
        self.prefix: tuple[str, ...] = ()
        """A program that starts the broker, with its arguments."""
        self.name = name or command
        self.log = folder / f"{self.name}.log"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BROKER_")},
            "BROKER_PORT": str(self.port),
            "BROKER_EGRESS_ALLOW": "127.0.0.0/8",
            "BROKER_RETRY_BASE": "50ms",
            "BROKER_RETRY_MAX": "400ms",
            "BROKER_HANDSHAKE_GRACE": "2s",
            "BROKER_PARTITIONS": "4",
            "BROKER_SHARDS": "4",
            **{f"BROKER_{key.upper()}": value for key, value in settings.items()},
            **environment,
        }

    def spawn(self, *, failpoint: str = "") -> None:
        with self.log.open("ab") as log:
            self.process = spawn_broker(
                [self.command],
                env=self.environment | ({"BROKER_FAILPOINT": failpoint} if failpoint else {}),
                stdout=log,
                stderr=log,
                prefix=self.prefix,
            )

    async def start(self, *, failpoint: str = "") -> None:
        """Starts the process and waits until /readyz answers 200."""
        self.spawn(failpoint=failpoint)
        await self.ready()

    async def ready(self) -> None:
        async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False, timeout=3) as client:
            while not await self._is_ready(client):  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.05)

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} exited: {self.log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{self.base}/readyz")).status_code == 200
        return False

    def terminate(self) -> None:
        """SIGTERM: the process drains and exits."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)

    async def stop(self, within_s: float = START_S) -> bool:
        """SIGTERM, and SIGKILL if the process does not exit in time. Whether it exited by itself."""
        self.terminate()
        has_ended = await self.until_ended(within_s)
        self.kill()
        return has_ended


@contextlib.asynccontextmanager
async def started(*brokers: BrokerProcess) -> AsyncIterator[None]:
    """Starts them at once and ends those that are left."""
    for one in brokers:
        one.spawn()
    try:
        await asyncio.gather(*(one.ready() for one in brokers))
        yield
    finally:
        kill_all(brokers)


def kill_all(children: Iterable[_Child]) -> None:
    """One that a signal holds still ends as well."""
    for one in children:
        one.kill()
