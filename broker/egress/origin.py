"""The connections to one origin: at most so many at once, idle ones kept for the next request.

An origin is a scheme, host and port. `EgressClient` drops it when it has neither requests nor idle
connections.
"""

import asyncio
from collections.abc import Awaitable, Callable

from broker.egress.http_connection import ConnectionEnded, HttpAnswer, HttpConnection

KEEP_ALIVE_S = 4.0
"""Shorter than the five seconds after which many servers close an idle connection."""

Open = Callable[[], Awaitable[HttpConnection]]


class Origin:
    """`requests` counts the exchanges under way and waiting."""

    def __init__(self, open_connection: Open, *, max_connections: int, keep_alive_s: float) -> None:
        self._open = open_connection
        self._keep_alive_s = keep_alive_s
        self._turn = asyncio.Semaphore(max_connections)
        self._idle: list[HttpConnection] = []
        self._loop = asyncio.get_running_loop()
        self.requests = 0

    @property
    def is_unused(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self.requests and not self._idle

    async def exchange(self, request: bytes, timeout_s: float) -> HttpAnswer:
        """One request within `timeout_s`, counted from its turn: waiting for a turn is not the endpoint's
        silence.

        A reused connection that the endpoint had closed before it answered a byte is no failure: the
        request goes out once more, on a new one. Raises what `HttpConnection.exchange` and opening a
        connection raise.
        """
        self.requests += 1
        try:
            async with self._turn:
                deadline = self._loop.time() + timeout_s
                connection = self._take_idle()
                if connection is not None:
                    try:
                        return await self._exchange(connection, request, deadline)
                    except ConnectionEnded as ended:
                        if not ended.is_untouched:
                            raise
                async with asyncio.timeout_at(deadline):
                    connection = await self._open()
                return await self._exchange(connection, request, deadline)
        finally:
            self.requests -= 1

    async def _exchange(self, connection: HttpConnection, request: bytes, deadline: float) -> HttpAnswer:
        answer = await connection.exchange(request, deadline)
        if not self._keep_alive_s:
            connection.close()
        elif connection.is_reusable:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        return answer

    def _take_idle(self) -> HttpConnection | None:
        oldest = self._loop.time() - self._keep_alive_s
        while self._idle:
            connection = self._idle.pop()  # the last used: those in front expire
            if connection.is_reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def close_idle(self, *, older_than_s: float) -> None:
        """Closes connections that were idle for so long, and forgets those the endpoint closed."""
        oldest = self._loop.time() - older_than_s
        kept = []
        for connection in self._idle:
            if connection.is_reusable and connection.idle_since > oldest:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept
