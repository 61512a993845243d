"""A proxy between the broker and its store that loses answers, delays them, and cuts connections.

It does not parse the protocol: an answer is whatever the store sends. If an answer is lost, the store has
executed the command, and the broker cannot know that.
"""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class StoreProxy:
    """Listens on its own Unix socket while it is entered."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.path = folder / "proxy.sock"
        self._store = store
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        self.lost = 0
        self._to_lose = 0

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, str(self.path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._serving)

    def lose(self, answers: int) -> None:
        """Drops the next answers and cuts the connection of each."""
        self._to_lose += answers

    def cut(self) -> int:
        """Cuts every connection and returns their number."""
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_store, to_store = await asyncio.open_unix_connection(str(self._store))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_store)
        self._links.add(link)
        await asyncio.gather(self._forward(reader, to_store, link), self._answer(from_store, writer, link))
        self._links.discard(link)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := await reader.read(_CHUNK)) and not writer.is_closing():
                writer.write(data)
                await writer.drain()
        link.cut()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link"
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._to_lose:
                    self._to_lose -= 1
                    self.lost += 1
                    break
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if writer.is_closing():
                    break  # cut while the answer was delayed
                writer.write(data)
                await writer.drain()
        link.cut()


class _Link:
    """Both halves of one connection."""

    def __init__(self, *halves: asyncio.StreamWriter) -> None:
        self._halves = halves

    def cut(self) -> None:
        for half in self._halves:
            half.transport.abort()
