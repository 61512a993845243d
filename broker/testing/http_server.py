"""An HTTP server of the testing kit, which leaves no connection open when it is stopped."""

import asyncio
import socket
import ssl

from aiohttp import web

_TURNS = 4
"""Turns of the event loop after which a connection that was accepted is known to the server, and one more."""


class HttpServer:
    """Listens from `start` to `stop`. `shutdown_timeout` and `handler_cancellation` are those of aiohttp."""

    def __init__(
        self, app: web.Application, *, shutdown_timeout: float = 60.0, handler_cancellation: bool = False
    ) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=shutdown_timeout,
            handler_cancellation=handler_cancellation,
        )
        self._socket: socket.socket | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Returns the port, which the system chooses for 0. Raises `OSError` if it cannot be had."""
        await self._runner.setup()
        family = (await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))[0][0]
        self._socket = socket.create_server((host, port), family=family)
        self._socket.setblocking(False)
        await web.SockSite(self._runner, self._socket, ssl_context=tls).start()
        chosen: int = self._socket.getsockname()[1]
        return chosen

    async def stop(self) -> None:
        """Refuses connections from now on, and closes those that are open. asyncio would forget one that it
        accepted a moment ago, and leave it open: it accepts no more, and knows all others, before it stops.
        """
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        await self._runner.cleanup()
