"""A proxy between the broker and its store that loses answers, delays them, and cuts connections.

It knows nothing of the protocol: an answer is what the store sends. Losing one keeps the command: the store has carried it out and
the broker can't know.
"""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class StoreProxy:
    """Listens on a Unix socket of its own while it is entered."""

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
        """The next answers are not passed on; the connection of each is cut instead."""
        self._to_lose += answers

    def cut(self) -> int:
        """Ends every connection; how many there were."""
        links = list(self._links)
        for one in links:
            one.cut()
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
        await asyncio.gather(self._pass_on(reader, to_store, link), self._answer(from_store, writer, link))
        self._links.discard(link)

    async def _pass_on(
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
                    break  # cut while the answer was held back
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
