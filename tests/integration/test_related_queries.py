"""Events contain the related queries of their topic, in the form of each backport (R-074, R-225, R-236)."""

from pathlib import Path

import orjson
import pytest

from broker.fhir.related_queries import RELATED_QUERY
from broker.model.release import Release
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import read_back
from tests.integration.broker_fixture import BrokerFixture, broker_with

TOPIC = "http://example.org/topics/with-queries"
QUERY = "Observation?code=http://loinc.org|8867-4"
TYPE = {"system": "http://example.org/query-types", "code": "trend"}


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    shape = {
        "resource": "Observation",
        "extension": [
            {
                "url": RELATED_QUERY,
                "extension": [
                    {"url": "queryType", "valueCoding": TYPE},
                    {"url": "query", "valueString": QUERY},
                ],
            }
        ],
    }
    topic = {
        "resourceType": "SubscriptionTopic",
        "id": "with-queries",
        "url": TOPIC,
        "status": "active",
        "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create"]}],
        "notificationShape": [shape],
    }
    (tmp_path / "with-queries.json").write_bytes(orjson.dumps(topic))
    return tmp_path


async def notification_body(broker_fixture: BrokerFixture, release: str, content: str) -> bytes:
    """The body of the event notification about one reading."""
    name = f"{release}-{content}"
    await broker_fixture.subscribe(name, release=release, content=content, topic=TOPIC)
    await broker_fixture.send()
    endpoint = broker_fixture.subscriber.endpoint(name)
    assert await broker_fixture.subscriber.wait_until(lambda: bool(endpoint.of_type("event-notification")))
    return endpoint.received[-1].body


async def test_events_contain_the_related_queries_in_the_form_of_each_backport_except_at_empty(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, topics: Path
) -> None:
    async with broker_with(start_broker, subscriber, topics_dir=topics) as broker_fixture:
        r4 = await notification_body(broker_fixture, "r4", "id-only")
        read_back(Release.R4, r4)
        parameters = orjson.loads(r4)["entry"][0]["resource"]["parameter"]
        [parts] = [parameter["part"] for parameter in parameters if parameter["name"] == "notification-event"]
        [query] = [part["part"] for part in parts if part["name"] == "related-query"]
        assert query == [{"name": "query-type", "valueCoding": TYPE}, {"name": "query", "valueString": QUERY}]

        r4b = await notification_body(broker_fixture, "r4b", "id-only")
        read_back(Release.R4B, r4b)
        [event] = orjson.loads(r4b)["entry"][0]["resource"]["notificationEvent"]
        [extension] = event["extension"]
        assert extension["url"] == RELATED_QUERY
        assert extension["extension"] == [
            {"url": "queryType", "valueCoding": TYPE},
            {"url": "query", "valueString": QUERY},
        ]
        for release, content in (("r4", "empty"), ("r4b", "empty"), ("r5", "id-only")):
            assert QUERY.encode() not in await notification_body(broker_fixture, release, content)
