"""The HTTP server of a process: uvicorn on the listening socket, started and stopped with the process."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from broker.app.request_head import BoundedHeadProtocol
from broker.errors import ConfigurationError

_KEEP_ALIVE_S = 75
"""Longer than the pauses of a device gateway: its next reading needs no new connection."""
_MAX_WEBSOCKET_MESSAGE_BYTES = 65_536


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers: the command decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    listening: socket.socket,
    *,
    has_websockets: bool,
    drain_s: float,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    """Accepts requests while it is entered; gives the server's task, which ends early only if the server
    fails.

    On the way out it accepts no more requests and waits up to `drain_s` (at least a second) for those in
    progress.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=BoundedHeadProtocol,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio" if has_websockets else "none",
        ws_max_size=_MAX_WEBSOCKET_MESSAGE_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    config.load()
    config.ssl = tls
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    try:
        while not server.started:
            if task.done():
                raise ConfigurationError(
                    "The HTTP server did not start; the log has the reason."
                ) from task.exception()
            await asyncio.sleep(0.005)
        yield task
    finally:
        server.should_exit = True
        await asyncio.wait([task])
