"""A HAPI FHIR JPA server as the EHR: the Maven project in `server/`, on loopback with an empty database."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.ports import free_port
from tests.validation.java_project import build, java_command

_PROJECT = Path(__file__).parent / "server"
_START_S = 300


def build_server() -> None:
    """Downloads and compiles it. Raises `JavaFailed` or `NoAnswer`."""
    build(_PROJECT)


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Its base while it runs. The log is in the folder."""
    port = free_port()
    base, log = f"http://127.0.0.1:{port}/fhir", folder / "hapi.log"
    with log.open("wb") as output:
        command = java_command(_PROJECT, "org.fhirbroker.ehr.HapiServer", str(port))
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        _wait(base, process, log)
        yield base
    finally:
        process.terminate()
        process.wait(60)


def _wait(base: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    with httpx.Client(trust_env=False, timeout=60) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{base}/metadata").status_code == 200:
                    return
            time.sleep(0.5)
    raise RuntimeError(f"HAPI did not start: {log.read_text(errors='replace')[-3000:]}")
