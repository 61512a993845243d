"""Every page of the console's table in Chromium: accessible in light and dark, by keyboard, on a phone and at
200 %.
"""

from unittest.mock import MagicMock

import pytest
from playwright.async_api import Browser

from broker.app import Running
from broker.console.page import Page
from broker.console.table import pages
from tests.console.browsing import Visitor
from tests.console.examples import CHECKED_ELSEWHERE, EXAMPLES

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLE = pages(MagicMock())
NO_PAGES = ("/live", "/download")
"""How the path of a row ends that streams parts of a page, or that the browser saves."""
SHOWN = [
    row
    for row in TABLE
    if row.method == "GET" and not row.path.endswith(NO_PAGES) and row.path not in CHECKED_ELSEWHERE
]


@pytest.mark.parametrize("row", SHOWN, ids=lambda row: row.path)
async def test_a_page_is_for_everyone(visitor: Visitor, row: Page) -> None:
    path = EXAMPLES.get(row.path, row.path)
    assert "{" not in path, f"{row.path} needs a path in tests/console/examples.py"
    await visitor.open(path)
    await visitor.page.get_by_role("heading", level=1).wait_for()
    await visitor.check(f"page{path}")


async def test_a_page_that_does_not_exist_says_so(visitor: Visitor) -> None:
    await visitor.open("/nowhere")
    await visitor.page.get_by_role("heading", name="This does not exist").wait_for()
    visitor.problems.clear()  # the browser itself reports the 404
    await visitor.check("not-found")


async def test_the_first_control_leads_past_the_navigation(visitor: Visitor) -> None:
    await visitor.open("/overview")
    await visitor.page.keyboard.press("Tab")
    await visitor.page.keyboard.press("Enter")
    assert await visitor.page.evaluate("document.activeElement.id") == "content"


async def test_figures_are_live_with_scripts_and_readable_without(
    browser: Browser, console_broker: Running, visitor: Visitor
) -> None:
    await visitor.open("/overview")
    accepted = visitor.page.locator("dt:text-is('changes accepted, ever') + dd")
    before = int(await accepted.inner_text())
    body = '{"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}'
    url = f"{console_broker.settings.base_url}/r4/Observation"
    posted = await visitor.page.context.request.post(
        url, data=body, headers={"Content-Type": "application/fhir+json"}
    )
    assert posted.status == 201
    counted = visitor.page.locator(f"dt:text-is('changes accepted, ever') + dd:text-is('{before + 1}')")
    await counted.wait_for(timeout=180_000)  # a stream that broke off is opened again after a minute at most
    assert visitor.problems == []
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{console_broker.settings.base_url}/console/", timeout=60_000)
    assert await page.locator("dt:text-is('changes accepted, ever') + dd").inner_text() == str(before + 1)
    await context.close()


async def test_the_charts_show_the_last_hour(visitor: Visitor) -> None:
    await visitor.open("/overview")
    assert await visitor.page.locator(".chart canvas").count() == 3
    legends = await visitor.page.locator(".chart .u-label").all_inner_texts()
    assert {"in", "out", "p50", "p99", "matcher", "dispatcher"} <= set(legends)
    await visitor.page.get_by_role("heading", name="The last hour in numbers").wait_for()
    rows = await visitor.page.get_by_role("region", name="Table of the last hour").locator("tbody tr").count()
    assert rows >= 10
    await visitor.check("overview-of-an-hour")
    assert await visitor.page.locator(".chart canvas").count() == 3
