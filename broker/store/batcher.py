"""Sends the commands of many callers in one pipeline: those that arrive while pipelines are under way leave
with the next one.

So each caller pays for a share of a round trip, a write and a read. The commands of one caller are executed
in order; between callers there is no order. A batcher replaces a lost connection and sends what had no reply
once more, so callers send only commands that may be repeated: reads and scripts. The connection modules and
the stream readers use it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ConnectionError as ConnectionLost

from broker.store.protocol import Command
from broker.store.resp_connection import PendingReply, RespConnection
from broker.tasks import end

MAX_PIPELINES = 2
"""Pipelines under way: the server executes one while the next is written."""
MAX_BATCH = 256
"""Callers whose commands share one pipeline."""
TIMEOUT_S = 10.0
IDLE_S = 10.0
"""How long a connection for `exchange` stays open without use; one stays in any case."""


class Batcher:
    """Commands to one server. `pool` makes the connections: a shared one for `send`, and others for
    `exchange`.
    """

    def __init__(self, pool: redis.ConnectionPool, *, timeout_s: float = TIMEOUT_S) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._shared = _SharedConnection(pool, timeout_s)
        self._idle = IdleConnections()
        self._busy: set[RespConnection] = set()
        self._is_closed = False

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in the order of the commands, from the shared connection; raises the first error among
        them.

        Raises `RedisError` and `OSError`. After a lost connection a write may have been executed or not.
        """
        if not commands:
            return []
        loop = asyncio.get_running_loop()
        pending = PendingReply(commands, loop.create_future())
        self._shared.enqueue(pending)
        try:
            await pending.done
        except (ConnectionLost, OSError):
            # the server may have closed the connection while it was idle
            pending = PendingReply(commands, loop.create_future(), pending.replies)
            self._shared.enqueue(pending)
            await pending.done
        for reply in pending.replies:
            if isinstance(reply, Exception):
                raise reply
        return pending.replies

    async def exchange(
        self, commands: Sequence[Command], *, resend_all: bool = False, retry: bool = True
    ) -> list[Any]:
        """The replies in order, from a connection that no other caller uses meanwhile; errors of the server
        are among them.

        After a lost connection, `retry` sends the commands without a reply once more. `resend_all` sends
        all of them: WAIT and WAITAOF cover only the writes of their own connection.
        """
        replies: list[Any] = []
        try:
            await self._exchange(self._idle.take(), commands, replies)
        except (ConnectionLost, OSError):
            if not retry or self._is_closed:
                raise
            if resend_all:
                replies.clear()
            # the server may have closed the connection while it was idle
            await self._exchange(None, commands, replies)
        return replies

    async def _exchange(
        self, connection: RespConnection | None, commands: Sequence[Command], replies: list[Any]
    ) -> None:
        """Sends the commands that have no reply yet; `replies` grows as they arrive."""
        if connection is None:
            connection = await RespConnection.connect(self._pool, self._timeout_s)
        self._busy.add(connection)
        try:
            pending = PendingReply(commands, asyncio.get_running_loop().create_future(), replies)
            connection.send([pending])
            await pending.done
        except BaseException:
            # the server may still execute the commands, and the next caller would read their replies
            connection.abort(ConnectionLost("the caller gave up"))
            raise
        finally:
            self._busy.discard(connection)
        if self._is_closed:
            connection.abort(ConnectionLost("closed"))
        else:
            self._idle.put(connection)

    async def close(self) -> None:
        """Closes all connections; commands under way fail."""
        self._is_closed = True
        closed = ConnectionLost("closed")
        await self._shared.close(closed)
        for connection in list(self._busy):
            connection.abort(closed)
        self._idle.close(closed)


class IdleConnections:
    """Connections that wait for their next use. The one used last is taken first, so that those which only a
    burst needed stay unused and are closed.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[float, RespConnection]] = []
        """The moment since which each is unused, the longest first."""
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> RespConnection | None:
        while self._waiting:
            _, connection = self._waiting.pop()
            if connection.is_open:
                return connection
        return None

    def put(self, connection: RespConnection) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time(), connection))
        if self._timer is None and len(self._waiting) > 1:
            self._timer = loop.call_later(IDLE_S, self._close_unused)

    def _close_unused(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while len(self._waiting) > 1:
            since, connection = self._waiting[0]
            if (left_s := since + IDLE_S - loop.time()) > 0:
                self._timer = loop.call_later(left_s, self._close_unused)
                return
            del self._waiting[0]
            connection.abort(ConnectionLost("unused"))

    def close(self, reason: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for _, connection in self._waiting:
            connection.abort(reason)
        self._waiting.clear()


class _SharedConnection:
    """The connection of all callers of `Batcher.send`, with the queue of what waits for the next pipeline."""

    def __init__(self, pool: redis.ConnectionPool, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._queue: list[PendingReply] = []
        self._connection: RespConnection | None = None
        self._pipeline_ends: deque[PendingReply] = deque()
        self._is_flush_scheduled = False
        self._connecting: asyncio.Task[None] | None = None
        self._is_closed = False

    def enqueue(self, pending: PendingReply) -> None:
        if self._is_closed:
            raise ConnectionLost("closed")
        self._queue.append(pending)
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        """In the loop's next turn, so that commands that other callers send until then leave with these."""
        if self._queue and not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        if self._connecting is not None or self._is_closed:
            return
        connection = self._connection
        if connection is None or not connection.is_open:
            self._pipeline_ends.clear()
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="connect")
            return
        ends = self._pipeline_ends
        while ends and len(ends[0].replies) == len(ends[0].commands):
            ends.popleft()
        while self._queue and len(ends) < MAX_PIPELINES:
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            connection.send(batch)
            ends.append(batch[-1])

    async def _connect(self) -> None:
        try:
            self._connection = await RespConnection.connect(self._pool, self._timeout_s, self._schedule_flush)
        except Exception as error:  # noqa: BLE001 every caller that waits must learn of it
            self._fail_queue(error)
        finally:
            self._connecting = None
        self._schedule_flush()

    async def close(self, reason: Exception) -> None:
        self._is_closed = True
        if self._connecting is not None:
            await end([self._connecting])
        if self._connection is not None:
            self._connection.abort(reason)
        self._fail_queue(reason)

    def _fail_queue(self, reason: Exception) -> None:
        failed, self._queue = self._queue, []
        for pending in failed:
            if not pending.done.done():
                pending.done.set_exception(reason)
