"""Pipelines that many callers share: each gets its own answers, whatever happens to the connection; nobody is forgotten."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import hiredis
import pytest
import redis.asyncio as redis
import uvloop
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as NoAnswer

from broker.store.batcher import Batcher
from broker.store.embedded import EmbeddedServer
from tests.faults.certificates import Pair, authority
from tests.ports import free_port

Words = Sequence[bytes]
Answering = Callable[[int, Words, asyncio.StreamWriter], Awaitable[None]]
"""What a scripted server does about the commands of a connection, numbered from 0."""
_GREETING = {b"CLIENT", b"SELECT", b"HELLO", b"AUTH"}


@contextlib.asynccontextmanager
async def scripted(
    answering: Answering, *, timeout_s: float = 10.0, tls: Pair | None = None
) -> AsyncIterator[Batcher]:
    """A pipeliner of a server that does as it is told."""
    serving: list[asyncio.Task[None]] = []

    async def talk(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(65_536):
            parser.feed(data)
            while (words := parser.gets()) is not False:
                assert isinstance(words, list)
                if words[0].upper() in _GREETING:
                    writer.write(b"+OK\r\n")
                elif not writer.is_closing():
                    await answering(number, words, writer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        with contextlib.suppress(ConnectionError):
            await talk(len(serving) - 1, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.good if tls else None)
    port = server.sockets[0].getsockname()[1]
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={tls.trusted}" if tls else f"redis://127.0.0.1:{port}"
    pool = redis.Redis.from_url(url, protocol=2, socket_timeout=None).connection_pool
    one = Batcher(pool, timeout_s=timeout_s)
    try:
        yield one
    finally:
        await one.close()
        server.close()
        async with asyncio.timeout(10):
            await asyncio.gather(*serving)


def echo(words: Words) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(words[1]), words[1])


@pytest.fixture
def pool(embedded: EmbeddedServer) -> redis.ConnectionPool:
    return redis.Redis.from_url(embedded.url, protocol=2, socket_timeout=None).connection_pool


async def test_nobody_is_forgotten_whenever_he_asks(pool: redis.ConnectionPool) -> None:
    one = Batcher(pool)

    async def ask(caller: int) -> None:
        for n in range(100):
            assert await one.ask([("ECHO", f"{caller} {n}")]) == [f"{caller} {n}".encode()]
            for _ in range((caller * 7 + n) % 5):
                await asyncio.sleep(0)

    async with asyncio.timeout(30), asyncio.TaskGroup() as callers:
        for caller in range(20):
            callers.create_task(ask(caller))
    await one.close()


async def test_each_caller_gets_its_own_answers_in_order_and_its_own_error(
    pool: redis.ConnectionPool,
) -> None:
    one = Batcher(pool)

    async def ask(n: int) -> None:
        if n % 7 == 3:
            with pytest.raises(ResponseError):
                await one.ask([("PING",), ("NONSENSE",)])
        else:
            assert await one.ask([("ECHO", f"{n}"), ("ECHO", b"x")]) == [f"{n}".encode(), b"x"]

    async with asyncio.timeout(10), asyncio.TaskGroup() as callers:
        for n in range(600):  # more than one pipeline holds
            callers.create_task(ask(n))
    await one.close()


async def test_answers_may_come_in_any_pieces() -> None:
    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        for byte in echo(words):
            writer.write(bytes([byte]))
            await writer.drain()

    async with scripted(answer) as one, asyncio.timeout(10):
        assert await one.ask([("ECHO", "one"), ("ECHO", "two")]) == [b"one", b"two"]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_it_speaks_on_either_loop_and_through_tls(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], is_encrypted: bool
) -> None:
    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        writer.write(echo(words))

    async def run() -> None:
        tls = authority(tmp_path) if is_encrypted else None
        async with scripted(answer, tls=tls) as one, asyncio.timeout(10):
            large = b"x" * 1_000_000
            assert await one.ask([("ECHO", "a"), ("ECHO", large)]) == [b"a", large]
            assert await one.exchange([("ECHO", large), ("ECHO", "b")]) == [large, b"b"]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await go_on.wait()
        writer.write(echo(words))

    async with scripted(answer) as one, asyncio.timeout(10):
        gone, stays = (asyncio.create_task(one.ask([("ECHO", name)])) for name in ("gone", "stays"))
        await arrived.wait()
        gone.cancel()
        early = asyncio.create_task(one.ask([("ECHO", "early")]))
        await asyncio.sleep(0)
        early.cancel()  # it was not even sent
        go_on.set()
        assert await stays == [b"stays"]
        assert await one.ask([("ECHO", "next")]) == [b"next"]


async def test_what_was_not_answered_is_asked_once_more_on_a_new_connection() -> None:
    seen: list[tuple[int, bytes]] = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append((connection, words[1]))
        if words[1] == b"b" and connection < 2:
            await writer.drain()
            writer.close()
        else:
            writer.write(echo(words))

    commands = [("ECHO", name) for name in "abc"]
    async with scripted(answer) as one, asyncio.timeout(10):
        with pytest.raises(ConnectionLost):  # it was lost twice
            await one.ask(commands)
        assert [name for name in seen if name[0] == 1] == [(1, b"b")], "a had its answer"
        assert await one.ask(commands) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("anew", [False, True])
async def test_a_pipeline_of_its_own_is_continued_or_asked_anew(anew: bool) -> None:
    seen: list[tuple[int, bytes]] = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append((connection, words[1]))
        if words[1] == b"b" and connection == 0:
            await writer.drain()
            writer.close()
        else:
            writer.write(echo(words))

    async with scripted(answer) as one, asyncio.timeout(10):
        commands = [("ECHO", name) for name in "ab"]
        assert await one.exchange(commands, anew=anew) == [b"a", b"b"]
    assert [name for number, name in seen if number == 1] == ([b"a", b"b"] if anew else [b"b"])


async def test_what_may_not_be_repeated_is_not() -> None:
    seen = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append(words[1])
        if connection == 0:
            writer.close()
        else:
            writer.write(echo(words))

    async with scripted(answer) as one, asyncio.timeout(10):
        with pytest.raises(ConnectionLost):
            await one.exchange([("ECHO", "a")], repeats=False)
        assert await one.exchange([("ECHO", "b")], repeats=False) == [b"b"]
    assert seen == [b"a", b"b"]


@pytest.mark.parametrize("shares", [True, False])
async def test_a_server_that_says_nothing_is_given_up_and_not_read_any_more(shares: bool) -> None:
    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        if connection > 0:
            writer.write(echo(words))

    async with scripted(answer, timeout_s=0.2) as one, asyncio.timeout(10):
        ask = one.ask if shares else one.exchange
        with pytest.raises(NoAnswer):
            await ask([("ECHO", "late")])
        assert await ask([("ECHO", "next")]) == [b"next"]


async def test_a_server_that_is_loading_is_no_answer_but_an_error_of_the_connection() -> None:
    async def answer(_: int, __: Words, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-LOADING the data set is being read\r\n")

    async with scripted(answer) as one, asyncio.timeout(10):
        for ask in (one.ask, one.exchange):
            with pytest.raises(BusyLoadingError):
                await ask([("ECHO", "a")])


async def test_all_who_wait_hear_that_nobody_listens() -> None:
    pool = redis.Redis(host="127.0.0.1", port=free_port(), protocol=2).connection_pool
    one = Batcher(pool)
    async with asyncio.timeout(10):
        asking = [one.ask([("PING",)]) for _ in range(5)]
        outcomes = await asyncio.gather(*asking, one.exchange([("PING",)]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 6
    await one.close()


async def test_what_waits_when_it_is_closed_is_refused() -> None:
    arrived = asyncio.Event()

    async def answer(_: int, words: Words, __: asyncio.StreamWriter) -> None:
        if words[1] == b"4":
            arrived.set()

    async with scripted(answer) as one, asyncio.timeout(10):
        waiting = [asyncio.create_task(one.ask([("ECHO", f"{n}")])) for n in range(5)]
        waiting.append(asyncio.create_task(one.exchange([("ECHO", "own")])))
        await arrived.wait()
        waiting.append(asyncio.create_task(one.ask([("ECHO", "later")])))
        await asyncio.sleep(0)
        await one.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(ConnectionLost):
            await one.ask([("PING",)])
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 7
