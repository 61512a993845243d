"""Ports for processes that can't be given port 0, because somebody has to know it before they start."""

import itertools
import os
import socket

_FIRST, _SPAN = 20_000, 2_000
"""Below the range from which systems draw ports for outgoing connections; a span for each of pytest's processes."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
_offsets = itertools.count(os.getpid() % _SPAN)


def free_port() -> int:
    """A port nobody listens on, never the same twice, and never one of another test process."""
    while True:
        port = _FIRST + _worker * _SPAN + next(_offsets) % _SPAN
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
