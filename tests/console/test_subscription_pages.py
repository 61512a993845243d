"""The pages of Subscriptions and topics in Chromium: live, and by the keyboard."""

import json

import pytest

from broker.app import Running
from broker.testing.readings import HEART_RATE, observation
from tests.console.browsing import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOPIC = {
    "resourceType": "SubscriptionTopic",
    "id": "all-readings",
    "url": "http://example.org/topics/all-readings",
    "status": "active",
    "title": "All readings",
    "resourceTrigger": [{"resource": "Observation"}],
}


async def test_a_broken_endpoint_is_found_and_the_page_changes_by_itself(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/subscriptions")
    await page.get_by_label("Words, id or endpoint").fill("ward")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="ward").click()
    await page.get_by_text("Connection refused").first.wait_for()
    await page.get_by_text("Start the receiver").wait_for()
    await page.get_by_role("link", name="Pause").click()
    await page.get_by_role("button", name="Pause it").press("Enter")
    await page.get_by_role("status").get_by_text("It is off now.").wait_for()
    await page.context.request.patch(
        f"{visitor.base_url}/r5/Subscription/ward",
        data='[{"op": "replace", "path": "/status", "value": "requested"}]',
        headers={"Content-Type": "application/json-patch+json"},
    )
    await page.get_by_role("heading", name="It is off").wait_for(state="detached")
    assert visitor.problems == []


async def test_an_attempt_is_found_from_the_page_of_its_subscription(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/subscriptions/ward")
    await page.get_by_role("link", name="Attempts").click()
    await page.get_by_role("heading", name="Attempts").wait_for()
    while await page.get_by_text("unreachable").count() == 0:  # attempts are recorded behind the others
        await page.reload()
    await page.get_by_role("row").filter(has_text="unreachable").first.get_by_role("link").click()
    await page.get_by_role("heading", name="Attempt of").wait_for()
    await page.get_by_text("no connection: Connection refused").wait_for()
    await visitor.check("attempt")


async def test_a_topic_is_tried_and_every_result_is_accessible(
    visitor: Visitor, console_broker: Running
) -> None:
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 60)
    url = f"{console_broker.settings.base_url}/r4/Observation"
    posted = await visitor.page.context.request.post(
        url, data=json.dumps(reading), headers={"Content-Type": "application/fhir+json"}
    )
    assert posted.status == 201
    page = visitor.page
    await visitor.open("/new-topic")
    await page.get_by_label("The topic as JSON").fill(json.dumps(TOPIC))
    await page.get_by_role("button", name="Try it").click()
    await page.get_by_role("heading", name="It fires on 1 of the last 1 changes").wait_for()
    await visitor.check("topic-tried")
    await page.get_by_role("button", name="Save it as tried").click()
    await page.get_by_role("heading", name="All readings").wait_for()
    await visitor.open("/subscriptions/ward/explain")
    await page.get_by_label("Reference").fill(f"Observation/{(await posted.json())['id']}")
    await page.get_by_role("button", name="Explain").first.click()
    await page.get_by_role("heading", name="It is no event").wait_for()
    await visitor.check("explained")
