"""Reads the console's pages and sends its forms as a browser without JavaScript does."""

import html
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.conftest import NO_AUTHORITIES

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_LINK = re.compile(r'href="/console([^"]+)"')
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page as it is read: `status`, its `source`, and its `text` without tags and with single spaces."""

    status: int
    source: str

    @property
    def text(self) -> str:
        return " ".join(html.unescape(_TAG.sub(" ", self.source)).split())


class ConsoleClient:
    """One browser window. `client` sends what is no page: requests of the API, from the same machine."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def read(self, path: str, **query: str) -> ConsolePage:
        """The page at a path of the console."""
        response = await self.client.get(f"/console{path}", params=query or None)
        return ConsolePage(response.status_code, response.text)

    async def links(self, path: str) -> Sequence[str]:
        """Where the links of a page lead within the console."""
        source = (await self.read(path)).source
        return [html.unescape(link) for link in _LINK.findall(source)]

    async def send(self, form: str, path: str, **fields: str | Sequence[str]) -> ConsolePage:
        """The page after the form of the page `form` was sent to `path`."""
        found = _CSRF.search((await self.read(form)).source)
        assert found is not None, f"{form} has no form"
        response = await self.client.post(
            f"/console{path}", data={"csrf": found[1], **fields}, follow_redirects=True
        )
        return ConsolePage(response.status_code, response.text)


@asynccontextmanager
async def console_of(base_url: str) -> AsyncIterator[ConsoleClient]:
    """A window at the broker."""
    async with httpx.AsyncClient(
        base_url=base_url, trust_env=False, timeout=60, verify=NO_AUTHORITIES
    ) as client:
        yield ConsoleClient(client)
