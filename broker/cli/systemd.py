"""Reports to systemd that a process is ready, and that it stops (`Type=notify`).

One datagram each, to the socket of NOTIFY_SOCKET. Without that variable nothing is sent. The processes of the
broker call it.
"""

import os
import socket

import structlog

READY, STOPPING = "READY=1", "STOPPING=1"
_log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """A socket that takes nothing is logged: systemd then ends the start when its time is up."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract address of Linux
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(state.encode(), address)
    except OSError as error:
        _log.warning("systemd not notified", state=state, error=str(error))
