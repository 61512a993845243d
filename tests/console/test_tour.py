"""The guided tour of a demo in Chromium: eight steps, each done by its button, in order only."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from broker.app import Running, console_link, running
from broker.cli.demo_clients import GATEWAY, DemoClients
from broker.cli.demo_tour import DemoTour
from broker.model.change import DEFAULT_TENANT
from broker.services.tour import TourStep
from broker.settings import Settings
from broker.testing.gateway import SimulatedGateway
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import LOOPBACK
from tests.console.browsing import Visitor, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def demo(tmp_path: Path) -> AsyncIterator[Running]:
    """A broker as the demo has it, with the stage of the tour."""
    clients = DemoClients(tmp_path / "clients", [])
    settings = Settings(
        port=0,
        data_dir=tmp_path / "data",
        auth="smart",
        clients_dir=tmp_path / "clients",
        egress_allow=LOOPBACK,
        partitions=4,
        shards=4,
    )
    async with (
        aclosing(DemoTour()) as tour,
        running(settings, tour=tour) as broker,
        SimulatedSubscriber() as subscriber,
    ):
        base_url = broker.settings.base_url
        async with SimulatedGateway(
            f"{base_url}/r4", auth=clients.auth(GATEWAY, f"{base_url}/r4")
        ) as gateway:
            tour.begin(base_url, subscriber, gateway, clients)
            yield broker


@pytest_asyncio.fixture(loop_scope="module")
async def guest(browser: Browser, demo: Running) -> AsyncIterator[Visitor]:
    """A window of who opened the link of the demo."""
    async with visiting(browser, demo.settings.base_url) as visitor:
        link = await console_link.make_link(demo.settings, demo.store_url, DEFAULT_TENANT)
        await visitor.page.goto(link)
        await visitor.check("login-link")
        await visitor.page.get_by_role("button", name="Log in").press("Enter")
        await visitor.page.get_by_role("heading", name="Overview").wait_for()
        yield visitor


async def test_the_tour_leads_from_a_topic_to_a_replay(guest: Visitor) -> None:
    page = guest.page
    await page.get_by_role("link", name="Guided tour").click()
    shown = {
        TourStep.TOPIC: "vital-signs",
        TourStep.SUBSCRIBE: "active",
        TourStep.HANDSHAKE: "handshake",
        TourStep.EVENT: "event-notification",
        TourStep.FAILURE: "answers 503 so far",
        TourStep.RECOVERY: "1, 2",
        TourStep.REPLAY: "repetitions received",
        TourStep.END: "repetitions that were asked for",
    }
    for number, (step, text) in enumerate(shown.items(), 1):
        await page.get_by_role("heading", name=f"{number} of 8").wait_for()
        assert page.url.endswith(f"/tour/{step}")
        button = page.locator("main form button")
        if step is not TourStep.END and await button.count():
            await button.click()
            await page.locator(".facts").wait_for()
        await page.get_by_text(text).first.wait_for(state="attached")
        await guest.check(f"tour-{number}-{step}")
        if step is not TourStep.END:
            await page.get_by_role("link", name="Next:").click()
    await page.get_by_role("link", name="The page of the Subscription").click()
    await page.get_by_role("heading", level=1).wait_for()
    await page.go_back()
    await page.get_by_role("button", name="Start again").click()
    await page.get_by_role("heading", name="1 of 8").wait_for()
    assert guest.problems == []


async def test_a_step_waits_for_those_before_it(guest: Visitor) -> None:
    await guest.open("/login")
    await guest.page.get_by_role("heading", name="Log in").wait_for()
    await guest.check("login")
    await guest.open("/tour/recovery")
    assert await guest.page.locator("main form").count() == 0
    await guest.page.get_by_text("The steps before this one come first.").wait_for()
    await guest.open("/tour")
    await guest.page.get_by_role("heading", name="1 of 8").wait_for()


async def test_only_a_demo_has_a_tour(console_broker: Running) -> None:
    async with httpx.AsyncClient(
        base_url=console_broker.settings.base_url, trust_env=False, timeout=60
    ) as client:
        assert (await client.get("/console/tour")).status_code == 404
        assert "Guided tour" not in (await client.get("/console/overview")).text
