"""Pipelines that many callers share: nobody is forgotten."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis.asyncio as redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from broker.store.embedded import EmbeddedServer
from broker.store.pipelining import Command, Pipeliner


class Together(Pipeliner):
    """Its pipelines are answered at one and the same turn of the event loop."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        super().__init__(pool)
        self.gate = asyncio.Event()

    async def exchange(
        self, commands: Sequence[Command], *, anew: bool = False, repeats: bool = True
    ) -> list[Any]:
        await self.gate.wait()
        return await super().exchange(commands, anew=anew, repeats=repeats)


@pytest.fixture
def pool(embedded: EmbeddedServer) -> redis.ConnectionPool:
    return redis.Redis.from_url(embedded.url, protocol=2, socket_timeout=None).connection_pool


async def test_who_asks_while_the_last_pipelines_end_is_not_forgotten(pool: redis.ConnectionPool) -> None:
    class AtOnce(Together):
        async def exchange(
            self, commands: Sequence[Command], *, anew: bool = False, repeats: bool = True
        ) -> list[Any]:
            await self.gate.wait()
            return ["PONG"] * len(commands)

    one = AtOnce(pool)

    async def ask(times: int) -> None:
        for _ in range(times):
            await one.ask([("PING",)])

    async with asyncio.timeout(10), asyncio.TaskGroup() as callers:
        for times in (2, 1):  # as many callers as there are pipelines under way
            callers.create_task(ask(times))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        one.gate.set()
    await one.close()


async def test_each_caller_gets_its_own_answers_in_order_and_its_own_error(
    pool: redis.ConnectionPool,
) -> None:
    one = Pipeliner(pool)

    async def ask(n: int) -> None:
        if n % 7 == 3:
            with pytest.raises(ResponseError):
                await one.ask([("PING",), ("NONSENSE",)])
        else:
            assert await one.ask([("ECHO", f"{n}"), ("ECHO", b"x")]) == [f"{n}".encode(), b"x"]

    async with asyncio.timeout(10), asyncio.TaskGroup() as callers:
        for n in range(300):
            callers.create_task(ask(n))
    await one.close()


async def test_a_caller_that_goes_away_harms_nobody(pool: redis.ConnectionPool) -> None:
    one = Together(pool)
    gone, stays = (asyncio.create_task(one.ask([("ECHO", name)])) for name in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    one.gate.set()
    async with asyncio.timeout(10):
        assert await stays == [b"stays"]
    await one.close()


async def test_what_waits_when_it_is_closed_is_refused(pool: redis.ConnectionPool) -> None:
    one = Together(pool)
    waiting = [asyncio.create_task(one.ask([("PING",)])) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(one.ask([("PING",)])))
    await asyncio.sleep(0)
    await one.close()
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 6
