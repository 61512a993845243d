"""Free ports for processes whose port must be known before they start."""

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path

_FIRST, _SPAN = 20_000, 2_000
"""Below the range of ephemeral ports; one span for each process of pytest-xdist."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
_offsets = itertools.count(os.getpid() % _SPAN)


def free_port() -> int:
    """A port on which nobody listens: never the same twice, and never one of another test process."""
    while True:
        port = _FIRST + _worker * _SPAN + next(_offsets) % _SPAN
        if _is_bindable(port) and _is_reserved(port):
            return port


def _is_bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _is_reserved(port: int) -> bool:
    """Whether this process has the port from now on until it ends; another run of the tests may have it."""
    folder = Path(tempfile.gettempdir()) / f"fhir-broker-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / str(port), os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True
