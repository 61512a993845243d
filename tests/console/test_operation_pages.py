"""Operators work with dead letters, and device engineers try payloads, in Chromium."""

import pytest

from tests.console.browsing import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_engineer_tries_the_example_of_a_mapping(visitor: Visitor) -> None:
    await visitor.open("/readings")
    page = visitor.page
    await page.get_by_label("Example payload").select_option("heart-rate-monitor")
    await page.get_by_role("button", name="Fill in").click()
    await page.wait_for_url("**/readings?example=heart-rate-monitor")
    assert "restingHeartRate" in await page.get_by_label("Payload", exact=True).input_value()
    await page.get_by_role("button", name="Try it").click()
    await page.get_by_role("heading", name="It would be quarantined").wait_for()
    await visitor.check("reading-tried")


async def test_an_operator_discards_what_a_filter_includes(visitor: Visitor) -> None:
    await visitor.open("/quarantined-readings")
    page = visitor.page
    await page.get_by_label("Reason of a reading").fill("rare")
    await page.get_by_role("button", name="Filter").click()
    await page.wait_for_url("**reason=rare")
    assert await page.get_by_role("checkbox", name="Choose reading-").count() == 1
    await page.get_by_role("checkbox", name="Choose reading-3-0").check()
    await page.get_by_role("button", name="Discard those that are chosen").click()
    await page.get_by_role("heading", name="Discard 1 dead letter?").wait_for()
    await visitor.check("discard-asked")
    await page.get_by_role("button", name="Keep").click()
    await page.get_by_text("All that the filter includes").click()
    await page.get_by_label("Every dead letter that the filter includes").check()
    await page.get_by_role("button", name="Discard all of them for good").click()
    # live: the page is not loaded again
    await page.get_by_role("heading", name="The last run is complete").wait_for()
    await visitor.open("/quarantined-readings")
    assert await page.get_by_role("checkbox", name="Choose reading-").count() == 2
    await visitor.check("run-complete")
