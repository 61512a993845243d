"""Server-sent events of the console: they end with the session, and with the process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx

from broker.app import console_link
from broker.model.change import DEFAULT_TENANT
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.smart_broker import smart_broker
from tests.integration.test_console_logins import form_token

DEADLINE_S = 60
LIVE = "/console/overview/live"


def browser_at(base_url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base_url, timeout=DEADLINE_S, trust_env=False, verify=NO_AUTHORITIES)


async def until_figures(lines: AsyncIterator[str]) -> None:
    """Reads until a whole event has come."""
    async for line in lines:
        if line.startswith("data:") and "</section>" in line:
            return


async def test_a_stop_does_not_wait_for_pages_that_are_open(start_broker: StartBroker) -> None:
    async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as stack:
        async with start_broker(drain=timedelta(hours=1)) as broker:
            browser = await stack.enter_async_context(browser_at(broker.settings.base_url))
            response = await stack.enter_async_context(browser.stream("GET", LIVE))
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.aiter_lines()
            await until_figures(lines)
        assert not [line async for line in lines if line.startswith("event: error")]


async def test_a_logout_ends_the_streams_of_the_session(start_broker: StartBroker, tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_S), smart_broker(start_broker, tmp_path) as smart:
        settings, store_url = smart.broker.settings, smart.broker.store_url
        link = await console_link.make_link(settings, store_url, DEFAULT_TENANT)
        async with browser_at(smart.base_url) as browser:
            await browser.post("/console/login/link", data={"token": link.partition("token=")[2]})
            page = await browser.get("/console/overview")
            async with browser.stream("GET", LIVE) as response:
                lines = response.aiter_lines()
                await until_figures(lines)
                left = await browser.post("/console/logout", data={"csrf": form_token(page)})
                assert left.status_code == 303
                async for _ in lines:
                    pass
            refused = await browser.get(LIVE, headers={"HX-Request": "true"})
            assert refused.status_code == 401
