"""Callers that share pipelines: each gets its own replies, whatever happens to the connection, and none waits
forever.
"""

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
from redis.exceptions import TimeoutError as NoReply

from broker.store import batcher as batcher_module
from broker.store.batcher import Batcher
from broker.store.clients import pool_at
from broker.store.embedded import EmbeddedServer
from tests.faults.certificates import Pair, authority
from tests.ports import free_port

Words = Sequence[bytes]
Answering = Callable[[int, Words, asyncio.StreamWriter], Awaitable[None]]
"""How a scripted server replies to a command of a connection; connections are numbered from 0."""
_GREETING = {b"CLIENT", b"SELECT", b"HELLO", b"AUTH"}


@contextlib.asynccontextmanager
async def scripted(
    answering: Answering, *, timeout_s: float = 10.0, tls: Pair | None = None
) -> AsyncIterator[Batcher]:
    """A batcher connected to a server that replies as `answering` does."""
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
    batcher = Batcher(pool, timeout_s=timeout_s)
    try:
        yield batcher
    finally:
        await batcher.close()
        server.close()
        async with asyncio.timeout(60):
            await asyncio.gather(*serving)


def echo(words: Words) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(words[1]), words[1])


@pytest.fixture
def pool(embedded: EmbeddedServer) -> redis.ConnectionPool:
    return redis.Redis.from_url(embedded.url, protocol=2, socket_timeout=None).connection_pool


async def test_every_caller_gets_a_reply_whenever_it_sends(pool: redis.ConnectionPool) -> None:
    batcher = Batcher(pool)

    async def call(caller: int) -> None:
        for n in range(100):
            assert await batcher.send([("ECHO", f"{caller} {n}")]) == [f"{caller} {n}".encode()]
            for _ in range((caller * 7 + n) % 5):
                await asyncio.sleep(0)

    async with asyncio.timeout(60), asyncio.TaskGroup() as callers:
        for caller in range(20):
            callers.create_task(call(caller))
    await batcher.close()


async def test_each_caller_gets_its_own_replies_in_order_and_its_own_error(
    pool: redis.ConnectionPool,
) -> None:
    batcher = Batcher(pool)

    async def call(n: int) -> None:
        if n % 7 == 3:
            with pytest.raises(ResponseError):
                await batcher.send([("PING",), ("NONSENSE",)])
        else:
            assert await batcher.send([("ECHO", f"{n}"), ("ECHO", b"x")]) == [f"{n}".encode(), b"x"]

    async with asyncio.timeout(60), asyncio.TaskGroup() as callers:
        for n in range(600):  # more than one pipeline holds
            callers.create_task(call(n))
    await batcher.close()


async def test_a_word_that_has_no_bytes_fails_its_own_caller_and_no_reply_goes_to_another(
    pool: redis.ConnectionPool,
) -> None:
    batcher = Batcher(pool)

    async def call(n: int) -> None:
        if n % 7 == 3:
            with pytest.raises(UnicodeEncodeError):
                await batcher.send([("ECHO", "first"), ("ECHO", f"{n}\ud800")])
            with pytest.raises(UnicodeEncodeError):
                await batcher.exchange([("ECHO", "first"), ("ECHO", f"{n}\ud800")])
        else:
            assert await batcher.send([("ECHO", f"{n}")]) == [f"{n}".encode()]
            assert await batcher.exchange([("ECHO", f"e{n}")]) == [f"e{n}".encode()]

    async with asyncio.timeout(60), asyncio.TaskGroup() as callers:
        for n in range(60):
            callers.create_task(call(n))
    await batcher.close()


async def test_replies_may_arrive_in_pieces_of_any_size() -> None:
    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        for byte in echo(words):
            writer.write(bytes([byte]))
            await writer.drain()

    async with scripted(answer) as batcher, asyncio.timeout(60):
        assert await batcher.send([("ECHO", "one"), ("ECHO", "two")]) == [b"one", b"two"]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_it_works_on_both_event_loops_and_through_tls(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], is_encrypted: bool
) -> None:
    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        writer.write(echo(words))

    async def run() -> None:
        tls = authority(tmp_path) if is_encrypted else None
        async with scripted(answer, tls=tls) as batcher, asyncio.timeout(60):
            large = b"x" * 1_000_000
            assert await batcher.send([("ECHO", "a"), ("ECHO", large)]) == [b"a", large]
            assert await batcher.exchange([("ECHO", large), ("ECHO", "b")]) == [large, b"b"]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_a_cancelled_caller_does_not_affect_others() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: int, words: Words, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await go_on.wait()
        writer.write(echo(words))

    async with scripted(answer) as batcher, asyncio.timeout(60):
        gone, stays = (asyncio.create_task(batcher.send([("ECHO", name)])) for name in ("gone", "stays"))
        await arrived.wait()
        gone.cancel()
        early = asyncio.create_task(batcher.send([("ECHO", "early")]))
        await asyncio.sleep(0)
        early.cancel()  # it was not even sent
        go_on.set()
        assert await stays == [b"stays"]
        assert await batcher.send([("ECHO", "next")]) == [b"next"]


async def test_commands_without_a_reply_are_sent_once_more_on_a_new_connection() -> None:
    seen: list[tuple[int, bytes]] = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append((connection, words[1]))
        if words[1] == b"b" and connection < 2:
            await writer.drain()
            writer.close()
        else:
            writer.write(echo(words))

    commands = [("ECHO", name) for name in "abc"]
    async with scripted(answer) as batcher, asyncio.timeout(60):
        with pytest.raises(ConnectionLost):  # it was lost twice
            await batcher.send(commands)
        assert [name for name in seen if name[0] == 1] == [(1, b"b")], "a had its answer"
        assert await batcher.send(commands) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("resend_all", [False, True])
async def test_an_exchange_resends_the_rest_or_all_after_a_lost_connection(resend_all: bool) -> None:
    seen: list[tuple[int, bytes]] = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append((connection, words[1]))
        if words[1] == b"b" and connection == 0:
            await writer.drain()
            writer.close()
        else:
            writer.write(echo(words))

    async with scripted(answer) as batcher, asyncio.timeout(60):
        commands = [("ECHO", name) for name in "ab"]
        assert await batcher.exchange(commands, resend_all=resend_all) == [b"a", b"b"]
    assert [name for number, name in seen if number == 1] == ([b"a", b"b"] if resend_all else [b"b"])


async def test_an_exchange_without_retry_sends_nothing_again() -> None:
    seen = []

    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        seen.append(words[1])
        if connection == 0:
            writer.close()
        else:
            writer.write(echo(words))

    async with scripted(answer) as batcher, asyncio.timeout(60):
        with pytest.raises(ConnectionLost):
            await batcher.exchange([("ECHO", "a")], retry=False)
        assert await batcher.exchange([("ECHO", "b")], retry=False) == [b"b"]
    assert seen == [b"a", b"b"]


@pytest.mark.parametrize("shares", [True, False])
async def test_a_connection_whose_server_does_not_reply_in_time_is_not_read_any_more(shares: bool) -> None:
    async def answer(connection: int, words: Words, writer: asyncio.StreamWriter) -> None:
        if connection > 0:
            writer.write(echo(words))

    async with scripted(answer, timeout_s=0.2) as batcher, asyncio.timeout(60):
        send = batcher.send if shares else batcher.exchange
        with pytest.raises(NoReply):
            await send([("ECHO", "late")])
        batcher._timeout_s = batcher._shared._timeout_s = 60
        assert await send([("ECHO", "next")]) == [b"next"]


async def test_loading_is_an_error_of_the_connection_and_no_reply() -> None:
    async def answer(_: int, __: Words, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-LOADING the data set is being read\r\n")

    async with scripted(answer) as batcher, asyncio.timeout(60):
        for send in (batcher.send, batcher.exchange):
            with pytest.raises(BusyLoadingError):
                await send([("ECHO", "a")])


async def test_every_waiting_caller_learns_that_the_server_refuses_connections() -> None:
    batcher = Batcher(pool_at(f"redis://127.0.0.1:{free_port()}"))
    async with asyncio.timeout(60):
        asking = [batcher.send([("PING",)]) for _ in range(5)]
        outcomes = await asyncio.gather(*asking, batcher.exchange([("PING",)]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 6
    await batcher.close()


async def test_close_fails_the_commands_that_wait() -> None:
    arrived = asyncio.Event()

    async def answer(_: int, words: Words, __: asyncio.StreamWriter) -> None:
        if words[1] == b"4":
            arrived.set()

    async with scripted(answer) as batcher, asyncio.timeout(60):
        waiting = [asyncio.create_task(batcher.send([("ECHO", f"{n}")])) for n in range(5)]
        waiting.append(asyncio.create_task(batcher.exchange([("ECHO", "own")])))
        await arrived.wait()
        waiting.append(asyncio.create_task(batcher.send([("ECHO", "later")])))
        await asyncio.sleep(0)
        await batcher.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(ConnectionLost):
            await batcher.send([("PING",)])
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 7


async def test_connections_that_only_a_burst_needed_are_closed(
    embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "IDLE_S", 0.05)
    name = "burst"
    pool = redis.Redis.from_url(
        embedded.url, protocol=2, socket_timeout=None, client_name=name
    ).connection_pool
    batcher = Batcher(pool)

    async def connections() -> int:
        (text,) = await batcher.exchange([("CLIENT", "LIST")])
        return int(text.decode().count(f" name={name} "))

    await asyncio.gather(*(batcher.exchange([("ECHO", str(n))]) for n in range(20)))
    async with asyncio.timeout(60):
        while await connections() > 1:  # noqa: ASYNC110 the server sets no event
            await asyncio.sleep(0.01)
    assert await batcher.exchange([("ECHO", "again")]) == [b"again"]
    await batcher.close()
