"""The floor: a program with the same libraries and the same durability, but without FHIR. It shows what the
machine can do.

The floor appends a POST to one stream by group commit, answers when it is on disk, reads it from the stream
and posts the bytes to the target. It has no validation, no ids, no versions, no matching, no order, no outbox
and no retry. `python -m bench.floor` reads FLOOR_PORT, FLOOR_STORE and FLOOR_TARGET from the environment.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import redis.asyncio as redis
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STREAM = "floor"
CONNECTIONS = 32
_BATCH = 128
_MAX_PIPELINE = 512

_Waiting = tuple[bytes, "asyncio.Future[str]"]


class Writer:
    """Group commit: entries that arrive while a pipeline is under way go with the next one."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()

    async def write(self, body: bytes) -> str:
        """Waits until the store has answered: with `appendfsync always`, the entry is on disk then. Its
        id.
        """
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.append((body, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                batch, self._queue = self._queue[:_MAX_PIPELINE], self._queue[_MAX_PIPELINE:]
                pipe = self._client.pipeline(transaction=False)
                for body, _ in batch:
                    pipe.xadd(STREAM, {"b": body})
                for (_, future), entry_id in zip(batch, await pipe.execute(), strict=True):
                    if not future.done():
                        future.set_result(entry_id.decode())


async def forward(client: redis.Redis, session: aiohttp.ClientSession, target: str) -> None:
    """Posts what it reads, with as many concurrent requests as the broker has connections to one origin."""
    last = "0"
    slots = asyncio.Semaphore(CONNECTIONS)

    async def send(body: bytes) -> None:
        try:
            async with session.post(
                target, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                await answer.read()
        finally:
            slots.release()

    async with asyncio.TaskGroup() as tasks:
        while True:
            streams: Any = await client.xread({STREAM: last}, count=_BATCH, block=5_000)
            for entry_id, fields in streams[0][1] if streams else ():
                last = entry_id
                await slots.acquire()
                tasks.create_task(send(fields[b"b"]))


def application(store: str, target: str) -> Starlette:
    client = redis.Redis.from_url(store, protocol=2)
    reading = redis.Redis.from_url(store, protocol=2, socket_timeout=None)  # for blocking reads
    writer = Writer(client)

    async def accept(request: Request) -> Response:
        entry_id = await writer.write(await request.body())
        return Response(status_code=201, headers={"Location": f"/Observation/{entry_id}"})

    async def ready(_request: Request) -> Response:
        return Response()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            tasks = [
                asyncio.create_task(writer.run()),
                asyncio.create_task(forward(reading, session, target)),
            ]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.aclose()
            await reading.aclose()

    routes = [Route("/events", accept, methods=["POST"]), Route("/readyz", ready)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    app = application(os.environ["FLOOR_STORE"], os.environ["FLOOR_TARGET"])
    port = int(os.environ["FLOOR_PORT"])
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
