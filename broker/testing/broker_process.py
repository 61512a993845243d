"""A broker for tests of other projects: one that is started with its own store, or one that runs already."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from broker.errors import ConfigurationError

_START_S = 120.0
_END_S = 60.0
_POLL_S = 0.05
_FIRST_PORT, _PORTS = 10_000, 10_000


class ForeignBroker:
    """A broker at a URL, such as `http://127.0.0.1:8080`, or the FHIR base of any other server."""

    def __init__(self, url: str) -> None:
        self.base_url = url.rstrip("/")

    def base(self, release: str) -> str:
        """The FHIR base of `r4`, `r4b` or `r5`: the URL itself if it ends with a release or is no root."""
        has_path = bool(httpx.URL(self.base_url).path.strip("/"))
        return self.base_url if has_path else f"{self.base_url}/{release}"


class BrokerProcess:
    """`fhir-broker serve` in a process, without access control and with its data in a folder.

    It runs while it is entered. `settings` are more variables `BROKER_...`.
    """

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def base(self, release: str) -> str:
        """The FHIR base of `r4`, `r4b` or `r5`."""
        return f"{self.base_url}/{release}"

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Starts it, also after `kill`, and waits until it is ready. Raises `ConfigurationError`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        environment |= {
            "BROKER_PORT": self.base_url.rpartition(":")[2],
            "BROKER_DATA_DIR": str(self._folder / "data"),
            "BROKER_AUTH": "off",
            "BROKER_EGRESS_ALLOW": "127.0.0.0/8",
            "BROKER_RETRY_BASE": "100ms",
            "BROKER_RETRY_MAX": "1s",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "broker", "serve"],
                env=environment | self._settings,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ConfigurationError(f"The broker did not start: {self.log[-2_000:]}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Asks it to end, and waits until it and its store have."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kills it with SIGKILL; what it acknowledged is there again after `start`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def free_port() -> int:
    """A port on which nobody listens now. It is below those that systems give out by themselves, so that no
    other process gets it before it is used.
    """
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
