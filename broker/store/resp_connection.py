"""One connection to the store: sends commands as they come and receives the replies in that order.

redis-py connects (TLS, AUTH, the client's name). From then on a `RespConnection` is the protocol of the
asyncio transport, and hiredis parses the replies: a short exchange costs a third of what it costs through
redis-py's streams (docs/decisions/007-hiredis-as-transport-protocol.md). `Batcher` is the only caller.
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
from redis.exceptions import TimeoutError as NoReply

from broker.store.protocol import Command


@dataclass(slots=True, eq=False)
class PendingReply:
    """Commands of one caller and their replies, errors of the server among them. `done` resolves when all
    have arrived.

    Raises `UnicodeEncodeError` for a word with a lone surrogate, to the caller that wrote it: whatever waits
    for replies has been packed, so the replies of one caller never count as those of another.
    """

    commands: Sequence[Command]
    done: "asyncio.Future[None]"
    replies: list[Any] = field(default_factory=list)
    sent_at: float = 0.0
    packed: bytes = field(init=False)
    """What is sent: the commands that have no reply yet."""

    def __post_init__(self) -> None:
        self.packed = b"".join(
            hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub allows one word only
            for command in self.commands[len(self.replies) :]
        )


class RespConnection(asyncio.Protocol):
    """An open connection. It calls `on_replies` after replies have arrived, and once when it is lost.

    `is_open` never becomes true again: the pending commands have failed, and a caller needs a new connection.
    """

    def __init__(self, reader: Any, timeout_s: float, on_replies: Callable[[], None]) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._on_replies = on_replies
        self._loop = asyncio.get_running_loop()
        self._pending: deque[PendingReply] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(
        cls, pool: redis.ConnectionPool, timeout_s: float, on_replies: Callable[[], None] = lambda: None
    ) -> Self:
        """Connects as the pool would. Raises `RedisError` and `OSError`."""
        connection: redis.Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # as above
        except TimeoutError:
            raise NoReply(f"no connection within {timeout_s:g} s") from None
        # private attributes of redis-py: docs/decisions/008-private-attributes.md
        to_exception = connection._parser.parse_error  # noqa: SLF001 makes redis-py's exceptions of error texts
        reader = hiredis.Reader(protocolError=InvalidResponse, replyError=to_exception)
        opened = cls(reader, timeout_s, on_replies)
        # only its transport is used, but the writer would close the transport when it is collected
        opened._writer = writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001 redis-py must not close it any more
        writer.transport.set_protocol(opened)
        return opened

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def send(self, batch: Sequence[PendingReply]) -> None:
        """Sends every command that has no reply yet, all in one write."""
        if self._writer is None:
            raise ConnectionLost("connection lost")
        now = self._loop.time()
        for pending in batch:
            pending.sent_at = now
        self._pending.extend(batch)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check_timeout)
        self._writer.transport.write(b"".join([pending.packed for pending in batch]))

    def data_received(self, data: bytes) -> None:
        queue, reader = self._pending, self._reader
        reader.feed(data)
        try:
            while queue:
                reply = reader.gets()
                if reply is False:  # the rest has not arrived; no reply of RESP2 is False
                    break
                if isinstance(
                    reply, ConnectionLost
                ):  # LOADING, too many clients: this connection is of no use
                    self.abort(reply)
                    return
                pending = queue[0]
                pending.replies.append(reply)
                if len(pending.replies) == len(pending.commands):
                    queue.popleft()
                    if not pending.done.done():  # else its caller was cancelled
                        pending.done.set_result(None)
        except InvalidResponse as error:
            self.abort(error)
            return
        self._on_replies()

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(ConnectionLost(f"connection lost: {exc}" if exc else "connection closed by the server"))

    def _check_timeout(self) -> None:
        self._timer = None
        if not self._pending:
            return
        left_s = self._pending[0].sent_at + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_timeout)
        else:
            self.abort(NoReply(f"no answer within {self._timeout_s:g} s"))

    def abort(self, reason: Exception) -> None:
        """Closes the connection; every pending command fails with `reason`."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        failed = list(self._pending)
        self._pending.clear()
        for pending in failed:
            if not pending.done.done():
                pending.done.set_exception(reason)
        self._on_replies()
