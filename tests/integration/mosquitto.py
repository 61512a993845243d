"""A Mosquitto of Debian as the MQTT server of tests: started, killed and restarted on the same files."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.egress.mqtt import MqttServer
from tests.ports import free_port
from tests.spawning import dies_with_parent

START_S = 60.0


def mosquitto_binary() -> str:
    """Skips the test where Mosquitto is not installed."""
    binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("no mosquitto on PATH (Debian: apt-get install mosquitto)")
    return binary


class Mosquitto:
    """A server with a listener on loopback. It keeps sessions when it is stopped, and forgets them when it is
    killed.
    """

    def __init__(self, folder: Path, *configuration: str) -> None:
        self._binary = mosquitto_binary()
        self.port = free_port()
        self._log = folder / "mosquitto.log"
        self._file = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root" if os.geteuid() == 0 else "",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            "log_type all",
            *(configuration or ["allow_anonymous true"]),
        ]
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def server(self, client_id: str, *, version: int = 5) -> MqttServer:
        """How to connect to it without TLS."""
        return MqttServer("127.0.0.1", self.port, client_id, version)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 a test may block for a fork
                [self._binary, "-c", str(self._file)],
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
            )
        async with asyncio.timeout(START_S):
            while not await self._accepts():
                assert self._process.poll() is None, self.log
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: it saves nothing."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it saves its sessions and the messages that wait."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_S)

    async def _accepts(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False


@contextlib.asynccontextmanager
async def running_mosquitto(folder: Path, *configuration: str) -> AsyncIterator[Mosquitto]:
    mosquitto = Mosquitto(folder, *configuration)
    await mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.kill()
