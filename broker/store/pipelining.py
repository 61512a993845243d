"""Commands of many callers in one pipeline: what gathers while the pipelines under way are answered goes with the next.

A command costs its caller a share of a round trip, of a write and of a read, instead of all three. Commands of one caller are
answered in the order they were asked in; between callers there is no order. Lost connections are replaced and what was not
answered is asked once more, so only what may be repeated comes here: reads, and scripts.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

import hiredis
import redis.asyncio as redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswer

Argument = str | bytes | int
Command = Sequence[Argument]
AT_ONCE = 2
"""Pipelines under way: one is answered while the next is made."""
MOST = 256
TIMEOUT_S = 10.0

_Waiting = tuple[Sequence[Command], "asyncio.Future[list[Any]]"]


class Asking(Protocol):
    """What asks the store: over one server's connections, or those of a Cluster's nodes (`routing.py`)."""

    async def ask(self, commands: Sequence[Command]) -> list[Any]: ...
    async def exchange(self, commands: Sequence[Command], *, anew: bool = False) -> list[Any]: ...
    async def close(self) -> None: ...


class Pipeliner:
    """Asks over connections of its own, taken from `pool`, whose socket time-outs are off: a pipeline has one of its own."""

    def __init__(self, pool: redis.ConnectionPool, *, timeout_s: float = TIMEOUT_S) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._queue: list[_Waiting] = []
        self._idle: list[redis.Connection] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The answers in the order of the commands; the first error among them is raised.

        Raises `RedisError` and `OSError`; then a write may have happened or not.
        """
        if not commands:
            return []
        loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Any]] = loop.create_future()
        self._queue.append((commands, answers))
        if len(self._sending) < AT_ONCE:
            # it starts when the loop turns, so what others ask until then goes with it
            self._sending.add(loop.create_task(self._send(), name="pipeline"))
        return await answers

    async def _send(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:MOST], self._queue[MOST:]
                await self._send_batch(batch)
        finally:
            # here, not in a callback, which would come after what is asked in between: nobody would send that
            self._sending.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self.exchange([command for commands, _ in batch for command in commands])
        except BaseException as error:
            _refuse(batch, error if isinstance(error, Exception) else ConnectionLost("given up"))
            if not isinstance(error, Exception):
                raise
            return
        start = 0
        for commands, waiting in batch:
            some = answers[start : start + len(commands)]
            start += len(commands)
            failed = next((one for one in some if isinstance(one, Exception)), None)
            if waiting.done():
                continue  # its caller went away
            if failed is None:
                waiting.set_result(some)
            else:
                waiting.set_exception(failed)

    async def exchange(
        self, commands: Sequence[Command], *, anew: bool = False, repeats: bool = True
    ) -> list[Any]:
        """Sends commands as one pipeline of their own; errors the server answers are among the answers.

        `anew` asks all of them again where a connection was lost, not only those that were not answered: WAIT and WAITAOF speak of the
        writes of their own connection, and on another they would have nothing to wait for.
        """
        answers: list[Any] = []
        connection = await self._take(repeats=repeats)
        try:
            try:
                await self._exchange(connection, commands, answers)
            except (ConnectionLost, OSError):
                if not repeats:
                    raise
                if anew:
                    answers.clear()
                # it may have been closed while nobody used it
                await self._exchange(connection, commands, answers)
        finally:
            if connection.is_connected:
                self._idle.append(connection)
            else:
                await self._pool.release(connection)
        return answers

    async def _take(self, *, repeats: bool) -> redis.Connection:
        """One that was used before, as it is: taking it from the pool costs a third of a short exchange.

        The pool finds out whether it was closed meanwhile, which matters where nothing is repeated.
        """
        if self._idle:
            connection = self._idle.pop()
            if repeats:
                return connection
            await self._pool.release(connection)
        taken: redis.Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        return taken

    async def _exchange(
        self, connection: redis.Connection, commands: Sequence[Command], answers: list[Any]
    ) -> None:
        """Asks what is not answered yet."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.send_packed_command(b"".join(map(_packed, commands[len(answers) :])))
                while len(answers) < len(commands):
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
        except BaseException as error:
            # what was asked and not read must not be taken for the answer to the next
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise NoAnswer(f"no answer within {self._timeout_s:g} s") from None
            raise

    async def close(self) -> None:
        """Ends what is under way and closes the connections; what waits is refused."""
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        waiting, self._queue = self._queue, []
        _refuse(waiting, ConnectionLost("closed"))
        self._idle.clear()
        await self._pool.disconnect()


def _refuse(batch: Sequence[_Waiting], reason: Exception) -> None:
    for _, waiting in batch:
        if not waiting.done():
            waiting.set_exception(reason)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub knows one word only
    return packed
