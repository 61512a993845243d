"""Brokers and stores as processes of their own: started, waited for, killed. Every wait has a deadline."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from broker.store.embedded import find_binary
from tests.ports import free_port

START_S = 20.0


class StoreProcess:
    """A Valkey that a test may kill and start again on the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "store.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        command = [find_binary(), "--port", "0", "--unixsocket", str(self._path), "--dir", str(self._folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._folder / "store.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220 a test may block for a fork
        async with asyncio.timeout(START_S):
            while not self._answers():  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(self._path))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class BrokerProcess:
    """`python -m broker COMMAND` with settings of its own; `base` is where it answers."""

    def __init__(self, command: str, folder: Path, name: str = "", **settings: str) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self._command = command
        self._log = folder / f"{name or command}.log"
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BROKER_")},
            "BROKER_PORT": str(self.port),
            "BROKER_EGRESS_ALLOW": "127.0.0.0/8",
            "BROKER_RETRY_BASE": "50ms",
            "BROKER_RETRY_MAX": "400ms",
            "BROKER_PARTITIONS": "4",
            "BROKER_SHARDS": "4",
            **{f"BROKER_{key.upper()}": value for key, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "broker", self._command],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Returns when /readyz answers 200."""
        self.spawn()
        await self.ready()

    async def ready(self) -> None:
        async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False, timeout=3) as client:
            while not await self._is_ready(client):  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.05)

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"{self._command} ended: {self._log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{self.base}/readyz")).status_code == 200
        return False

    def kill(self) -> None:
        """SIGKILL: nothing is drained, nothing said."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.asynccontextmanager
async def started(*brokers: BrokerProcess) -> AsyncIterator[None]:
    """Starts them at once and ends those that are left."""
    for one in brokers:
        one.spawn()
    try:
        await asyncio.gather(*(one.ready() for one in brokers))
        yield
    finally:
        for one in brokers:
            one.kill()
