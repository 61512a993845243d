"""One Chromium and one broker for each module: tests of a module share their event loop
(`pytestmark = pytest.mark.asyncio(loop_scope="module")`).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from broker.app import Running, running
from broker.settings import Settings
from broker.testing.registration import subscription
from tests.conftest import LOOPBACK
from tests.console.browsing import Visitor, chromium, visiting
from tests.integration.broker_fixture import VITAL_SIGNS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An open broker with a store of its own, and a Subscription `ward` whose receiver does not listen."""
    folder: Path = tmp_path_factory.mktemp("console")
    settings = Settings(port=0, data_dir=folder / "data", egress_allow=LOOPBACK, partitions=4, shards=4)
    document = subscription("r5", VITAL_SIGNS, "http://127.0.0.1:9/ward", filters=["patient=Patient/ana"])
    async with (
        running(settings) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        registered = await client.put("/r5/Subscription/ward", json=document | {"id": "ward"})
        assert registered.status_code == 201, registered.text
        yield broker


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(browser: Browser, console_broker: Running) -> AsyncIterator[Visitor]:
    """A new window at the open broker."""
    async with visiting(browser, console_broker.settings.base_url) as window:
        yield window
