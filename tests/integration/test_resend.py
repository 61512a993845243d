"""`$resend`: delivered events go out once more under their numbers, and nothing else is disturbed (R-367)."""

from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest

from broker.testing.registration import BACKPORT, subscription
from broker.testing.subscriber import Endpoint
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, Gate, Script, until

pytestmark = pytest.mark.usefixtures("long_leases")
STORES = ("embedded", "cluster")

SINCE, UNTIL = "eventsSinceNumber", "eventsUntilNumber"


async def resend(
    broker_fixture: BrokerFixture, subscription_id: str, release: str = "r5", **bounds: str | int
) -> httpx.Response:
    parameters: list[dict[str, Any]] = [
        {"name": name, "valueString": str(value)} for name, value in bounds.items()
    ]
    body = {"resourceType": "Parameters", "parameter": parameters} if parameters else None
    content = orjson.dumps(body) if body else b""
    return await broker_fixture.client.post(
        f"/{release}/Subscription/{subscription_id}/$resend", content=content
    )


def counts(answer: dict[str, Any]) -> dict[str, int]:
    """What the Parameters of R5's `$resend` say."""
    assert answer["resourceType"] == "Parameters"
    return {each["name"]: each["valueInteger"] for each in answer["parameter"]}


def sent(endpoint: Endpoint) -> list[list[int]]:
    """The numbers of each event notification, in the order of arrival, refused ones included."""
    return [[event.number for event in item.events] for item in endpoint.of_type("event-notification")]


async def until_sent(broker_fixture: BrokerFixture, name: str, expected: Sequence[Sequence[int]]) -> None:
    endpoint = broker_fixture.subscriber.endpoint(name)
    await broker_fixture.subscriber.wait_until(lambda: len(sent(endpoint)) >= len(expected))
    assert sent(endpoint) == [list(item) for item in expected]


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_events_are_sent_again_under_their_numbers_and_the_cursor_does_not_move(
    broker_fixture: BrokerFixture, release: str
) -> None:
    subscription_id = await broker_fixture.subscribe("again", release=release)
    await broker_fixture.send(5)
    await broker_fixture.until_numbers("again", 5)
    response = await resend(
        broker_fixture, subscription_id, release, eventsSinceNumber=2, eventsUntilNumber=4
    )
    answer = response.json()
    assert response.status_code == 200
    if release == "r5":
        assert counts(answer) == {"resent": 3, "expired": 0, "undelivered": 0}
    else:
        assert answer["resourceType"] == "OperationOutcome", "R-367"
        assert answer["issue"][0]["severity"] == "information"
        assert answer["issue"][0]["diagnostics"].startswith("3 events")
    await until_sent(broker_fixture, "again", [[1], [2], [3], [4], [5], [2], [3], [4]])
    repeated = broker_fixture.subscriber.endpoint("again").of_type("event-notification")[5:]
    assert [two.events_since_start for two in repeated] == [2, 3, 4], "R-252: the highest of the Bundle"
    assert (await broker_fixture.status_of(subscription_id))["eventsSinceSubscriptionStart"] == "5"
    await broker_fixture.send()
    await until_sent(broker_fixture, "again", [[1], [2], [3], [4], [5], [2], [3], [4], [6]])


async def test_bounds_are_inclusive_and_open_where_absent(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("bounds", max_count=10)
    endpoint = broker_fixture.subscriber.endpoint("bounds")
    await broker_fixture.send(4)
    await broker_fixture.until_numbers("bounds", 4)
    await broker_fixture.until_delivered(subscription_id, 4)
    events = [event for two in endpoint.of_type("event-notification") for event in two.events]
    at = {event.number: event.timestamp for event in events}
    expected = sent(endpoint)
    cases: list[tuple[dict[str, str | int], list[int]]] = [
        ({}, [1, 2, 3, 4]),
        ({SINCE: 3}, [3, 4]),
        ({UNTIL: 1}, [1]),
        ({SINCE: 2, UNTIL: 2}, [2]),
        ({"eventsSinceInstant": at[3]}, [n for n in at if at[n] >= at[3]]),
        ({"eventsUntilInstant": at[2]}, [n for n in at if at[n] <= at[2]]),
        ({SINCE: 2, "eventsUntilInstant": at[3]}, [n for n in at if n >= 2 and at[n] <= at[3]]),
    ]
    for bounds, numbers in cases:
        assert (await resend(broker_fixture, subscription_id, "r5", **bounds)).status_code == 200
        expected.append(numbers)
        await until_sent(broker_fixture, "bounds", expected)
    nothing = await resend(broker_fixture, subscription_id, eventsSinceNumber=9)
    assert counts(nothing.json()) == {"resent": 0, "expired": 0, "undelivered": 0}
    assert (
        await resend(broker_fixture, subscription_id, eventsUntilInstant="2020-01-01T00:00:00Z")
    ).status_code == 200
    await broker_fixture.send()
    await until_sent(broker_fixture, "bounds", [*expected, [5]])


async def test_the_notification_in_progress_is_finished_before_the_resend(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("busy")
    await broker_fixture.send(2)
    endpoint = await broker_fixture.until_numbers("busy", 2)
    gate = endpoint.answer = Gate(503)
    await broker_fixture.send()
    await gate.entered.wait()
    assert (await resend(broker_fixture, subscription_id, eventsUntilNumber=2)).status_code == 200
    assert (await resend(broker_fixture, subscription_id, eventsUntilNumber=2)).status_code == 200, (
        "asked for twice is sent once"
    )
    endpoint.answer = Script(503, 200, 503)
    gate.opened.set()
    await until_sent(broker_fixture, "busy", [[1], [2], [3], [3], [3], [1], [1], [2]])
    bodies = [each.body for each in endpoint.received][-3:-1]
    assert bodies[0] == bodies[1], "R-209: a retry is identical"
    await broker_fixture.send()
    await until_sent(broker_fixture, "busy", [[1], [2], [3], [3], [3], [1], [1], [2], [4]])
    assert await broker_fixture.status(subscription_id) == "active"


async def test_an_update_cancels_a_pending_resend(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("old")
    await broker_fixture.send(3)
    endpoint = await broker_fixture.until_numbers("old", 3)
    gate = endpoint.answer = Gate()
    await resend(broker_fixture, subscription_id)
    await gate.entered.wait()
    await broker_fixture.request_again(subscription_id, endpoint=broker_fixture.subscriber.url("new"))
    gate.opened.set()
    await broker_fixture.until_status(subscription_id, "active")
    await broker_fixture.send()

    async def arrived() -> bool:
        return sent(broker_fixture.subscriber.endpoint("new")) == [[4]]

    await until(arrived)
    assert sent(endpoint) == [[1], [2], [3], [1]]


async def test_a_resend_that_is_impossible_is_refused(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("refusing")
    url = f"/r5/Subscription/{subscription_id}/$resend"
    got = await broker_fixture.client.get(url)
    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert (await resend(broker_fixture, "none")).status_code == 404
    wrong: list[dict[str, str | int]] = [
        {"colour": "red"},
        {SINCE: "x"},
        {SINCE: "-1"},
        {SINCE: "9" * 40},
        {"eventsSinceInstant": "2024-01-01"},
        {"eventsSinceInstant": "2024-01-01T00:00:00"},
        {"eventsUntilInstant": "soon"},
    ]
    for bounds in wrong:
        response = await resend(broker_fixture, subscription_id, "r5", **bounds)
        assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome"), bounds
    off = await broker_fixture.client.put(
        f"/r5/Subscription/{subscription_id}",
        content=orjson.dumps(broker_fixture.document("refusing") | {"id": subscription_id, "status": "off"}),
    )
    assert off.status_code == 200
    assert (await resend(broker_fixture, subscription_id)).status_code == 422


@pytest.mark.parametrize("channel", ["websocket", "server-sent-events"])
async def test_a_resend_to_a_pull_channel_is_refused_with_the_alternative(
    broker_fixture: BrokerFixture, channel: str
) -> None:
    document = subscription("r4", VITAL_SIGNS, "http://127.0.0.1:9/")
    del document["channel"]["endpoint"]
    if channel == "websocket":
        document["channel"]["type"] = channel
    else:
        coding = {"system": "http://fhir-broker.org/channel-types", "code": channel}
        document["channel"]["_type"] = {
            "extension": [{"url": f"{BACKPORT}backport-channel-type", "valueCoding": coding}]
        }
    created = await broker_fixture.client.post("/r4/Subscription", content=orjson.dumps(document))
    assert created.status_code == 201, created.text
    response = await resend(broker_fixture, created.json()["id"], "r4")
    assert response.status_code == 422
    assert "eventsSinceNumber" in response.json()["issue"][0]["diagnostics"]
