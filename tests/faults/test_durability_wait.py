"""A connection is lost between a durable write and the WAIT for it: the broker sends both again, together."""

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
    """Forwards bytes to a store. Cuts the first connection that sends WAIT, after the reply before it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_cut = False
        self.sent: list[bytes] = []
        self._connections: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(asyncio.create_task(self._connected(reader, writer)))

    async def ended(self) -> None:
        """Returns when both sides have closed."""
        await asyncio.gather(*self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", self._port)
        number = len(self.sent)
        self.sent.append(b"")

        async def forward_commands() -> None:
            while chunk := await reader.read(65_536):
                self.sent[number] += chunk
                outside.write(chunk)

        async def forward_replies() -> None:
            while chunk := await inside.read(65_536):
                writer.write(chunk)
                await writer.drain()
                if b"WAIT" in self.sent[number] and not self._is_cut:
                    self._is_cut = True
                    return

        forwarding = [asyncio.create_task(forward_commands()), asyncio.create_task(forward_replies())]
        await asyncio.wait(forwarding, return_when=asyncio.FIRST_COMPLETED)
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)
        for stream in (writer, outside):
            stream.close()
            with contextlib.suppress(OSError):
                await stream.wait_closed()


async def test_a_write_is_repeated_together_with_its_interrupted_wait(tmp_path: Path) -> None:
    node = StoreNode(tmp_path)
    await node.start()
    proxy = Proxy(node.port)
    listening = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    store = connect(f"redis://127.0.0.1:{port}", Layout(1, 1), replicas=1)
    try:
        await store.open()
        proposal = Proposal(DEFAULT_TENANT, "put", "Observation", "a", Release.R4, b"}}")
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await Changes(store, keep_ms=60_000).append([proposal])
    finally:
        await store.close()
        await asyncio.wait_for(proxy.ended(), 60)
        listening.close()
        node.kill()
    with_wait = [sent for sent in proxy.sent if b"WAIT" in sent]
    assert len(with_wait) == 2
    assert all(b"EVALSHA" in sent for sent in with_wait), (
        "WAIT alone on another connection would wait for nothing"
    )
