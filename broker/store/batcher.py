"""Commands of many callers in one pipeline: what gathers while the pipelines under way are answered goes with the next.

A command costs its caller a share of a round trip, of a write and of a read, instead of all three. Commands of one caller are
answered in the order they were asked in; between callers there is no order. Lost connections are replaced and what was not
answered is asked once more, so only what may be repeated comes here: reads, and scripts.
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

AT_ONCE = 2
"""Pipelines under way: one is answered while the next is made."""
MOST = 256
TIMEOUT_S = 10.0


class Batcher:
    """Asks over connections of its own, made as `pool` makes them."""

    def __init__(self, pool: redis.ConnectionPool, *, timeout_s: float = TIMEOUT_S) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._queue: list[PendingReply] = []
        self._shared: RespConnection | None = None
        self._last_under_way: deque[PendingReply] = deque()
        self._is_flushing = False
        self._connecting: asyncio.Task[None] | None = None
        self._idle: list[RespConnection] = []
        self._busy: set[RespConnection] = set()
        self._is_closed = False

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The answers in the order of the commands; the first error among them is raised.

        Raises `RedisError` and `OSError`; then a write may have happened or not.
        """
        if not commands:
            return []
        loop = asyncio.get_running_loop()
        asked = PendingReply(commands, loop.create_future())
        self._enqueue(asked)
        try:
            await asked.done
        except (ConnectionLost, OSError):
            # it may have been closed while nobody used it
            asked = PendingReply(commands, loop.create_future(), asked.answers)
            self._enqueue(asked)
            await asked.done
        for answer in asked.answers:
            if isinstance(answer, Exception):
                raise answer
        return asked.answers

    def _enqueue(self, asked: PendingReply) -> None:
        if self._is_closed:
            raise ConnectionLost("closed")
        self._queue.append(asked)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """When the loop turns, so that what others ask until then goes with it."""
        if self._queue and not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._connecting is not None or self._is_closed:
            return
        wire = self._shared
        if wire is None or not wire.is_open:
            self._last_under_way.clear()
            self._connecting = asyncio.get_running_loop().create_task(self._connect_shared(), name="connect")
            return
        ends = self._last_under_way
        while ends and len(ends[0].answers) == len(ends[0].commands):
            ends.popleft()
        while self._queue and len(ends) < AT_ONCE:
            batch, self._queue = self._queue[:MOST], self._queue[MOST:]
            wire.send(batch)
            ends.append(batch[-1])

    async def _connect_shared(self) -> None:
        try:
            self._shared = await RespConnection.connect(self._pool, self._timeout_s, self._flush_soon)
        except Exception as error:  # noqa: BLE001 whatever it is, the callers must hear it
            self._refuse(error)
        finally:
            self._connecting = None
        self._flush_soon()

    async def exchange(
        self, commands: Sequence[Command], *, anew: bool = False, repeats: bool = True
    ) -> list[Any]:
        """Sends commands as one pipeline of their own; errors the server answers are among the answers.

        `anew` asks all of them again where a connection was lost, not only those that were not answered: WAIT and WAITAOF speak of the
        writes of their own connection, and on another they would have nothing to wait for.
        """
        answers: list[Any] = []
        try:
            await self._exchange(self._taken(), commands, answers)
        except (ConnectionLost, OSError):
            if not repeats or self._is_closed:
                raise
            if anew:
                answers.clear()
            # it may have been closed while nobody used it
            await self._exchange(None, commands, answers)
        return answers

    def _taken(self) -> RespConnection | None:
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                return wire
        return None

    async def _exchange(
        self, wire: RespConnection | None, commands: Sequence[Command], answers: list[Any]
    ) -> None:
        """Asks what is not answered yet, on a connection that nobody else uses meanwhile."""
        if wire is None:
            wire = await RespConnection.connect(self._pool, self._timeout_s)
        self._busy.add(wire)
        try:
            asked = PendingReply(commands, asyncio.get_running_loop().create_future(), answers)
            wire.send([asked])
            await asked.done
        except BaseException:
            # what was asked may still happen there, and nobody would read the answer
            wire.abort(ConnectionLost("given up"))
            raise
        finally:
            self._busy.discard(wire)
        if self._is_closed:
            wire.abort(ConnectionLost("closed"))
        else:
            self._idle.append(wire)

    async def close(self) -> None:
        """Closes the connections; what is under way or waits is refused."""
        self._is_closed = True
        if self._connecting is not None:
            await end([self._connecting])
        closed = ConnectionLost("closed")
        for wire in (*self._idle, *self._busy, *([self._shared] if self._shared else [])):
            wire.abort(closed)
        self._idle.clear()
        self._refuse(closed)

    def _refuse(self, reason: Exception) -> None:
        waiting, self._queue = self._queue, []
        for asked in waiting:
            if not asked.done.done():
                asked.done.set_exception(reason)
