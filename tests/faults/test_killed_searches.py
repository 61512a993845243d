"""An EHR that polls gets every resource once, though the processes it asks and the store are killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.processes import BrokerProcess, StoreProcess, started
from tests.faults.test_killed_processes import put_all
from tests.integration.broker_fixture import WAIT_S

AGREED = 40
"""Resources that are seen before each kill."""


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    await store.start()
    yield store
    store.kill()


class Poller:
    """Asks the processes in turn for what changed since its last poll, and keeps what a whole poll found."""

    def __init__(self, bases: Sequence[str]) -> None:
        self.seen: list[tuple[str, str]] = []
        self._bases = bases
        self._turn = 0
        self._since = "2000-01-01"

    @property
    def ids(self) -> set[str]:
        return {name for name, _ in self.seen}

    async def poll(self) -> None:
        """Again until one is answered to its last page."""
        async with (
            asyncio.timeout(WAIT_S),
            httpx.AsyncClient(timeout=10, trust_env=False, headers={"Prefer": "handling=strict"}) as client,
        ):
            while not await self._try(client):  # noqa: ASYNC110 what was killed sets no event
                await asyncio.sleep(0.05)

    async def _try(self, client: httpx.AsyncClient) -> bool:
        found: list[tuple[str, str]] = []
        moment = ""
        query = f"/r4/Observation?_lastUpdated=gt{self._since}&_count=7"
        while query:
            self._turn += 1
            try:
                response = await client.get(self._bases[self._turn % len(self._bases)] + query)
            except httpx.TransportError:
                return False
            if response.status_code == 503:
                return False
            assert response.status_code == 200, response.text
            page = response.json()
            moment = moment or page["meta"]["lastUpdated"]
            found += [
                (entry["resource"]["id"], entry["resource"]["meta"]["versionId"])
                for entry in page.get("entry", [])
            ]
            following = [link["url"] for link in page["link"] if link["relation"] == "next"]
            query = "?".join(urlsplit(following[0])[2:4]) if following else ""
        self.seen += found
        self._since = moment
        return True


async def test_polls_of_two_processes_miss_and_repeat_nothing_though_all_are_killed(
    valkey: StoreProcess, tmp_path: Path
) -> None:
    first = BrokerProcess("api", tmp_path, "first", redis_url=valkey.url)
    second = BrokerProcess("api", tmp_path, "second", redis_url=valkey.url, base_url=first.base)
    names = [[f"{letter}{number:03d}" for number in range(150)] for letter in "ab"]
    async with started(first, second):
        poller = Poller([first.base, second.base])
        sending = asyncio.gather(put_all(first.base, names[0]), put_all(second.base, names[1]))
        for killed in (first, valkey, second):
            known = len(poller.ids)
            while len(poller.ids) < known + AGREED:
                await poller.poll()
            killed.kill()
            await killed.start()
        await sending
        await poller.poll()
    assert poller.ids == {name for each in names for name in each}
    assert len(poller.seen) == len(set(poller.seen))
