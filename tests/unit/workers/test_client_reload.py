"""The files of clients and issuers are read again: all of them or none, and no cache has the former ones."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import structlog.testing

from broker.clock import SystemClock
from broker.delivery.cached_clients import CachedClients
from broker.security.client_directory import ClientDirectory
from broker.security.issuers import IssuerFile
from broker.services.clients import ClientService
from broker.workers.client_reload import ClientReload
from tests.smart_clients import register

ISSUERS = """
[[issuer]]
name = "idp"
issuer = "https://idp.example"
audience = "https://broker.example"
scope = "system/*.rs"
"""


class Reloading:
    """A process that reads `clients/` and `issuers.toml` of the folder again once."""

    def __init__(self, folder: Path) -> None:
        self.clients_dir = folder / "clients"
        self.clients_dir.mkdir()
        self.issuers = folder / "issuers.toml"
        self.issuers.write_text(ISSUERS)
        register(self.clients_dir, "ward", "system/Observation.r")
        files = ClientDirectory(self.clients_dir, lambda _: ())
        files.load()
        issuers = IssuerFile(self.issuers, lambda _: ())
        stored = SimpleNamespace(count=self._count)
        service = ClientService(
            files, cast("Any", stored), issuers, cast("Any", None), lambda _: (), SystemClock()
        )
        self.cached = CachedClients(service)
        self._stop = asyncio.Event()
        self._reload = ClientReload(service, cast("Any", SimpleNamespace(follow=self._follow)), self.cached)
        self.seen_at_count: list[bool] = []

    async def is_disabled(self) -> bool:
        client = await self.cached.find("ward")
        assert client is not None
        return client.is_disabled

    async def once(self) -> None:
        await self._reload.run(self._stop)

    async def _follow(self) -> Any:
        yield None
        self._stop.set()
        await asyncio.Event().wait()

    async def _count(self) -> int:
        """What deliveries find while the reload waits for the store."""
        self.seen_at_count.append(await self.is_disabled())
        return 0


async def test_deliveries_find_the_new_clients_before_the_store_is_asked_for_anything(tmp_path: Path) -> None:
    reloading = Reloading(tmp_path)
    register(reloading.clients_dir, "ward", "system/Observation.r", disabled=True)
    assert not await reloading.is_disabled()
    await reloading.once()
    assert reloading.seen_at_count == [True]


async def test_with_a_file_of_issuers_that_is_not_valid_the_clients_stay_as_they_were(tmp_path: Path) -> None:
    reloading = Reloading(tmp_path)
    register(reloading.clients_dir, "ward", "system/Observation.r", disabled=True)
    reloading.issuers.write_text("issuer = 1")
    with structlog.testing.capture_logs() as lines:
        await reloading.once()
    assert [line["event"] for line in lines] == ["clients not loaded; they stay as they were"]
    reloading.cached.forget()
    assert not await reloading.is_disabled()
