"""Free ports for processes whose port must be known before they start."""

import itertools
import os
import socket

_FIRST, _SPAN = 20_000, 2_000
"""Below the range of ephemeral ports; one span for each process of pytest-xdist."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
_offsets = itertools.count(os.getpid() % _SPAN)


def free_port() -> int:
    """A port on which nobody listens: never the same twice, and never one of another test process."""
    while True:
        port = _FIRST + _worker * _SPAN + next(_offsets) % _SPAN
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
