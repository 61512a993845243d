"""A connection lost between a durable write and what waits for its durability: both are asked for again, together."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.store.changes import Changes
from broker.store.keys import Layout
from broker.store.proposals import Proposal
from broker.store.redis_store import connect
from tests.stores import StoreNode


class Proxy:
    """Passes bytes on to a store; a connection that asked to WAIT is cut once, when the answer before that has passed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_cut = False
        self.asked: list[bytes] = []
        self._connections: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(asyncio.create_task(self._connected(reader, writer)))

    async def ended(self) -> None:
        """When both sides have gone."""
        await asyncio.gather(*self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", self._port)
        number = len(self.asked)
        self.asked.append(b"")

        async def ask() -> None:
            while chunk := await reader.read(65_536):
                self.asked[number] += chunk
                outside.write(chunk)

        async def answer() -> None:
            while chunk := await inside.read(65_536):
                writer.write(chunk)
                await writer.drain()
                if b"WAIT" in self.asked[number] and not self._is_cut:
                    self._is_cut = True
                    return

        passing = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        for one in (writer, outside):
            one.close()
            with contextlib.suppress(OSError):
                await one.wait_closed()


async def test_a_write_is_repeated_with_the_wait_that_was_cut_off(tmp_path: Path) -> None:
    node = StoreNode(tmp_path)
    await node.start()
    proxy = Proxy(node.port)
    listening = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server = connect(f"redis://127.0.0.1:{port}", Layout(1, 1), replicas=1)
    try:
        await server.open()
        head = b'{"resourceType":"Observation","id":"a","meta":{'
        asked = Proposal(DEFAULT_TENANT, "put", "Observation", "a", Release.R4, head, b"}}")
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await Changes(server, keep_ms=60_000).append([asked])
    finally:
        await server.close()
        await asyncio.wait_for(proxy.ended(), 10)
        listening.close()
        node.kill()
    waited = [one for one in proxy.asked if b"WAIT" in one]
    assert len(waited) == 2
    assert all(b"EVALSHA" in one for one in waited), "on another connection WAIT alone would wait for nothing"
