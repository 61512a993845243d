"""One Chromium and one broker for each module: tests of a module share their event loop
(`pytestmark = pytest.mark.asyncio(loop_scope="module")`).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import redis.asyncio as redis
from msgspec import json
from playwright.async_api import Browser

from broker.app import Running, running
from broker.app.stores import open_store
from broker.clock import SystemClock
from broker.model.activity import ActivitySample, Totals
from broker.settings import Settings
from broker.store import keys
from broker.store.registered_clients import RegisteredClients
from broker.testing.registration import subscription
from tests.conformance.test_dead_letter_pages import fill
from tests.conftest import LOOPBACK
from tests.console.browsing import Visitor, chromium, visiting
from tests.integration.broker_fixture import VITAL_SIGNS
from tests.smart_clients import registration


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An open broker with its own store: a Subscription `ward` whose receiver does not listen, an hour of
    activity, quarantined readings from `reading-1-0` on, and a client `gateway`.
    """
    folder: Path = tmp_path_factory.mktemp("console")
    settings = Settings(port=0, data_dir=folder / "data", egress_allow=LOOPBACK, partitions=4, shards=4)
    document = subscription("r5", VITAL_SIGNS, "http://127.0.0.1:9/ward", filters=["patient=Patient/ana"])
    async with (
        running(settings) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        registered = await client.put("/r5/Subscription/ward", json=document | {"id": "ward"})
        assert registered.status_code == 201, registered.text
        await _report_an_hour(broker.store_url)
        async with open_store(broker.settings, broker.store_url) as store:
            await fill(store, readings=3)
            gateway = json.encode(registration("gateway", "system/Observation.c"))
            assert await RegisteredClients(store).replace("gateway", None, gateway)
        yield broker


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(browser: Browser, console_broker: Running) -> AsyncIterator[Visitor]:
    """A new window at the open broker."""
    async with visiting(browser, console_broker.settings.base_url) as window:
        yield window


async def _report_an_hour(store_url: str) -> None:
    """What another process reported in the last hour."""
    now_ms = SystemClock().now_ms()
    store = redis.from_url(store_url)
    async with store.pipeline(transaction=True) as pipeline:
        pipeline.delete(keys.ACTIVITY)  # the broker may have reported too, and its report would be newer
        for step in range(1, 361):
            sample = ActivitySample(
                "box:17",
                ["dispatch", "match"],
                {},
                {"matcher": 0.02, "dispatcher": 0.05 + step % 7 / 100},
                {"0.025": 80, "0.05": 30, "0.1": 3},
                Totals(step * 200 + step % 30 * 5, step * 150, 10_000_000),
            )
            at_ms = now_ms - 3_600_000 + step * 10_000 - 1_000
            pipeline.xadd(keys.ACTIVITY, {"r": json.encode(sample)}, id=f"{at_ms}-0")
        await pipeline.execute()
    await store.aclose()
