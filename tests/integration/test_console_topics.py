"""The console's pages of topics: in words, tried on the last changes, saved."""

import json
from pathlib import Path

from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture
from tests.integration.console_client import console_of

TOPIC = json.loads((Path(__file__).parents[2] / "topics" / "vital-signs.json").read_text())
FAST = {
    "resourceType": "SubscriptionTopic",
    "id": "created",
    "url": "http://example.org/topics/created",
    "status": "active",
    "title": "Created readings",
    "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create"]}],
}


async def test_a_topic_is_shown_in_words_with_its_subscriptions(broker_fixture: BrokerFixture) -> None:
    ward = await broker_fixture.subscribe("ward")
    async with console_of(str(broker_fixture.client.base_url)) as console:
        topics = await console.read("/topics")
        assert TOPIC["title"] in topics.text
        assert VITAL_SIGNS in topics.text
        page = await console.read(f"/topics/{TOPIC['id']}")
        assert "It fires when Observation is created or updated" in page.text
        assert "Observation: patient" in page.text
        assert ward in page.text
        assert (await console.read("/topics/nowhere")).status == 404
        assert "You see none." in (await console.read("/topics/admission")).text


async def test_a_pasted_topic_is_tried_before_it_is_saved(broker_fixture: BrokerFixture) -> None:
    readings = await broker_fixture.send(2)
    async with console_of(str(broker_fixture.client.base_url)) as console:
        tried = await console.send("/new-topic", "/new-topic/try", topic=json.dumps(FAST))
        assert "It fires on 2 of the last 2 changes" in tried.text
        assert f"Observation/{readings[0]}/_history/1" in tried.text
        assert "Observation is created" in tried.text
        assert (await broker_fixture.client.get("/r5/SubscriptionTopic/created")).status_code == 404
        wrong = FAST | {"resourceTrigger": [{"resource": "Observations"}]}
        refused = await console.send("/new-topic", "/new-topic/try", topic=json.dumps(wrong))
        assert "Observations is no resource type; do you mean Observation?" in refused.text
        assert "cannot be saved" in refused.text
        assert (await console.send("/new-topic", "/new-topic", topic=json.dumps(wrong))).status == 422
        assert (await console.send("/new-topic", "/new-topic/try", topic="{")).status == 400
        assert (await console.send("/new-topic", "/new-topic/try", topic=" ")).status == 400
        saved = await console.send("/new-topic", "/new-topic", topic=json.dumps(FAST))
        assert "The topic is created." in saved.text
        assert "Created readings" in saved.text
        stored = (await broker_fixture.client.get("/r5/SubscriptionTopic/created")).json()
        assert stored["url"] == FAST["url"]
        again = await console.send(
            "/new-topic?from=created", "/new-topic/try", topic=json.dumps(FAST | {"title": "Other"})
        )
        assert "Saving replaces the topic created" in again.text
        unnamed = {name: value for name, value in FAST.items() if name != "id"} | {"version": "2"}
        assert (
            "The topic is created."
            in (await console.send("/new-topic", "/new-topic", topic=json.dumps(unnamed))).text
        )
        of_folder = await console.send("/new-topic", "/new-topic", topic=json.dumps(TOPIC))
        assert of_folder.status == 409
        assert "BROKER_TOPICS_DIR" in of_folder.text
