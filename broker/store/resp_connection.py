"""One connection to the store: commands go out as they are given, answers come back in that order.

redis-py connects (TLS, AUTH, the client's name); from then on this is the protocol of its transport, and hiredis reads: a short exchange
costs a third of what it does through redis-py's streams.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import hiredis
import redis.asyncio as redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as NoAnswer

from broker.store.protocol import Command


@dataclass(slots=True, eq=False)
class PendingReply:
    """Commands of one caller. `answers` grows as the server answers, its errors among them; `done` when all are there."""

    commands: Sequence[Command]
    done: "asyncio.Future[None]"
    answers: list[Any] = field(default_factory=list)
    sent_at: float = 0.0


class RespConnection(asyncio.Protocol):
    """An open connection; `answered` is called whenever answers came, or none will come any more.

    Once `is_open` is false it never is again: what was under way has failed.
    """

    def __init__(self, reader: Any, timeout_s: float, answered: Callable[[], None]) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[PendingReply] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(
        cls, pool: redis.ConnectionPool, timeout_s: float, answered: Callable[[], None] = lambda: None
    ) -> Self:
        """Connects as the pool would. Raises `RedisError` and `OSError`."""
        connection: redis.Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # as above
        except TimeoutError:
            raise NoAnswer(f"no connection within {timeout_s:g} s") from None
        parse_error = connection._parser.parse_error  # noqa: SLF001 what makes redis-py's exceptions of its texts
        wire = cls(hiredis.Reader(protocolError=InvalidResponse, replyError=parse_error), timeout_s, answered)
        # kept although only its transport is used: it would close that when it goes
        wire._writer = writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001 taken over, as it is
        connection._reader = connection._writer = None  # noqa: SLF001 it is not its own to close any more
        writer.transport.set_protocol(wire)
        return wire

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def send(self, some: Sequence[PendingReply]) -> None:
        """Asks what they have no answers to yet, all in one write."""
        if self._writer is None:
            raise ConnectionLost("connection lost")
        now = self._loop.time()
        for asked in some:
            asked.sent_at = now
        self._waiting.extend(some)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_clock)
        self._writer.transport.write(
            b"".join(
                hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub knows one word only
                for asked in some
                for command in asked.commands[len(asked.answers) :]
            )
        )

    def data_received(self, data: bytes) -> None:
        waiting, reader = self._waiting, self._reader
        reader.feed(data)
        try:
            while waiting:
                answer = reader.gets()
                if answer is False:  # not all of it has arrived; no answer of RESP2 is false
                    break
                if isinstance(
                    answer, ConnectionLost
                ):  # "loading", "too many clients": nothing more can be asked here
                    self.abort(answer)
                    return
                asked = waiting[0]
                asked.answers.append(answer)
                if len(asked.answers) == len(asked.commands):
                    waiting.popleft()
                    if not asked.done.done():  # else its caller went away
                        asked.done.set_result(None)
        except InvalidResponse as error:
            self.abort(error)
            return
        self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(ConnectionLost(f"connection lost: {exc}" if exc else "connection closed by the server"))

    def _look_at_clock(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0].sent_at + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look_at_clock)
        else:
            self.abort(NoAnswer(f"no answer within {self._timeout_s:g} s"))

    def abort(self, reason: Exception) -> None:
        """Ends it; what is under way fails for this reason."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        waiting = list(self._waiting)
        self._waiting.clear()
        for asked in waiting:
            if not asked.done.done():
                asked.done.set_exception(reason)
        self._answered()
