"""The listening socket of a process, bound before anything else starts, so that a port in use is reported
first.
"""

import socket
from dataclasses import replace

from broker.errors import ConfigurationError
from broker.settings import Settings

_BACKLOG = 2048


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises `ConfigurationError` if the address cannot be used."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # accepted connections inherit it; without it a response waits for the delayed acknowledgment of the
    # client, 40 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"Cannot listen on BROKER_HOST={settings.host} BROKER_PORT={settings.port}: {error.strerror}. "
            "Choose another port, or stop the program that listens there."
        ) from error
    listening.listen(_BACKLOG)
    listening.setblocking(False)
    return listening


def with_bound_port(settings: Settings, listening: socket.socket) -> Settings:
    """The settings with the port that the socket has: with BROKER_PORT=0 the system chose it."""
    port = listening.getsockname()[1]
    base_url = settings.base_url
    if base_url.endswith(":0"):  # it was made from host and port
        base_url = f"{base_url.removesuffix(':0')}:{port}"
    return replace(settings, port=port, base_url=base_url)
