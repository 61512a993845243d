"""Polling by `_history?_since` misses no version that was acknowledged: two API processes accept changes and
answer the polls, one of them and the store are killed in between.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from broker.testing.readings import HEART_RATE, observation
from tests.faults.processes import BrokerProcess, StoreProcess, started

_NOW = "2025-03-01T08:00:00Z"
_WRITES = 60
"""Of each writer."""


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    await store.start()
    yield store
    store.kill()


def client_of(broker: BrokerProcess) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(base_url=broker.base, headers=headers, timeout=10, trust_env=False)


class Writer:
    """Puts readings, some ids repeatedly, at one process; `acknowledged` has the versions of its answers."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.acknowledged: set[str] = set()
        self._client = client
        self._name = name

    async def run(self) -> None:
        for number in range(_WRITES):
            resource_id = f"shared{number % 3}" if number % 2 else f"{self._name}{number}"
            body = observation(HEART_RATE, "ana", _NOW, 60 + number) | {"id": resource_id}
            while True:
                with contextlib.suppress(httpx.TransportError):
                    response = await self._client.put(f"/r4/Observation/{resource_id}", json=body)
                    if response.is_success:
                        break
                await asyncio.sleep(0.02)
            self.acknowledged.add(urlsplit(response.headers["Location"]).path)


class Poller:
    """Polls in turn at the processes; `seen` has the versions of all complete polls."""

    def __init__(self, clients: list[httpx.AsyncClient]) -> None:
        self.seen: list[str] = []
        self._clients = clients
        self._requests = 0
        self._since = ""

    async def poll(self) -> None:
        """One poll: all pages of the versions since the moment of the last one."""
        found, moment, url = list[str](), "", f"/r4/_history?_count=7{self._since}"
        while url:
            bundle = (await self._get(url)).json()
            moment = moment or bundle["meta"]["lastUpdated"]
            found += [urlsplit(entry["response"]["location"]).path for entry in bundle.get("entry", [])]
            following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            url = following[0].partition("/r4")[2] if following else ""
            url = f"/r4{url}" if url else ""
        assert len(found) == len(set(found)), "a poll has each version once"
        self.seen += found
        self._since = f"&_since={moment}"

    async def _get(self, url: str) -> httpx.Response:
        """The same page from whichever process answers."""
        while True:
            self._requests += 1
            client = self._clients[self._requests % len(self._clients)]
            with contextlib.suppress(httpx.TransportError):
                response = await client.get(url)
                if response.status_code == 200:
                    return response
                assert response.status_code == 503, response.text
            await asyncio.sleep(0.02)


async def test_polls_see_every_version_that_was_acknowledged(valkey: StoreProcess, tmp_path: Path) -> None:
    brokers = [
        BrokerProcess("api", tmp_path, name, redis_url=valkey.url, base_url="http://broker.example")
        for name in ("one", "two")
    ]
    async with (
        started(*brokers),
        client_of(brokers[0]) as first,
        client_of(brokers[1]) as second,
        asyncio.timeout(240),
    ):
        writers = [Writer(first, "a"), Writer(second, "b"), Writer(first, "c")]
        poller = Poller([first, second])
        writing = asyncio.gather(*(writer.run() for writer in writers))
        try:
            await poller.poll()
            brokers[0].kill()
            await poller.poll()
            await brokers[0].start()
            await poller.poll()
            valkey.kill()
            await valkey.start()
            while not writing.done():
                await poller.poll()
            await writing
        finally:
            writing.cancel()
        await poller.poll()
        acknowledged = {path for writer in writers for path in writer.acknowledged}
        assert len(acknowledged) > 2 * _WRITES
        assert acknowledged <= set(poller.seen)
