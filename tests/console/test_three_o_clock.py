"""At three in the morning, in Chromium: for an endpoint that is broken in one of five ways, the page of its
Subscription names the cause, the affected events, the next attempt, and what to do.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from broker.app import running
from broker.settings import Settings
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import LOOPBACK
from tests.console.browsing import Visitor, visiting
from tests.integration.broken_endpoints import DELAYS, ENDPOINTS, broken_endpoints
from tests.integration.broker_fixture import BrokerFixture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def broker_fixture(tmp_path: Path) -> AsyncIterator[BrokerFixture]:
    settings = Settings(
        port=0, data_dir=tmp_path / "data", egress_allow=LOOPBACK, partitions=4, shards=4, **DELAYS
    )
    async with (
        running(settings) as broker,
        SimulatedSubscriber() as subscriber,
        httpx.AsyncClient(
            base_url=broker.settings.base_url,
            headers={"Content-Type": "application/fhir+json"},
            timeout=60,
            trust_env=False,
        ) as client,
    ):
        yield BrokerFixture(client, subscriber)


@pytest_asyncio.fixture(loop_scope="module")
async def nurse(browser: Browser, broker_fixture: BrokerFixture) -> AsyncIterator[Visitor]:
    async with visiting(browser, str(broker_fixture.client.base_url).rstrip("/")) as window:
        yield window


async def test_the_page_names_cause_events_and_next_attempt_of_each_broken_endpoint(
    broker_fixture: BrokerFixture, nurse: Visitor
) -> None:
    page = nurse.page
    async with broken_endpoints(broker_fixture) as ids:
        await broker_fixture.send(2)
        for name, endpoint in ENDPOINTS.items():
            if not endpoint.is_final:  # what happens after it is off is no event of it
                await broker_fixture.until_counted(ids[name], 2)
            await nurse.open(f"/subscriptions/{ids[name]}")
            standing = page.locator("section[aria-labelledby=standing]")
            await standing.get_by_text(endpoint.advice).wait_for()
            await standing.get_by_text(endpoint.cause).first.wait_for()
            if endpoint.is_final:
                await standing.get_by_text("not delivered: number").wait_for()
                await standing.get_by_text("Nothing is sent until it is activated.").wait_for()
            else:
                await standing.get_by_text("2 events are not delivered: numbers 1 to 2.").wait_for()
                await standing.get_by_text("The broker attempts it again by itself.").wait_for()
                await standing.locator("dt:text-is('Next attempt') + dd time[datetime]").wait_for()
            await nurse.keep_screenshot(f"three-o-clock-{name}")
        await nurse.open("/subscriptions?error=1")
        for name, endpoint in ENDPOINTS.items():
            row = page.get_by_role("row").filter(has=page.locator(f"a[href$='/subscriptions/{ids[name]}']"))
            await row.get_by_text(endpoint.cause).first.wait_for()
        assert nurse.problems == []
