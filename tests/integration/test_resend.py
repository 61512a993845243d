"""`$resend`: delivered events go out once more under their numbers, and nothing else is disturbed (R-367)."""

from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest

from broker.testing.registration import BACKPORT, subscription
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.integration.desk import VITAL_SIGNS, Desk, Gate, Script, until

STORES = ("embedded", "cluster")

SINCE, UNTIL = "eventsSinceNumber", "eventsUntilNumber"


@pytest.fixture
def desk(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> Desk:
    return Desk(client, subscriber)


async def resend(desk: Desk, one: str, release: str = "r5", **bounds: str | int) -> httpx.Response:
    parameters: list[dict[str, Any]] = [
        {"name": name, "valueString": str(value)} for name, value in bounds.items()
    ]
    body = {"resourceType": "Parameters", "parameter": parameters} if parameters else None
    content = orjson.dumps(body) if body else b""
    return await desk.client.post(f"/{release}/Subscription/{one}/$resend", content=content)


def sent(endpoint: Endpoint) -> list[list[int]]:
    """The numbers of each event notification, in the order of arrival, refused ones included."""
    return [[event.number for event in one.events] for one in endpoint.of_type("event-notification")]


async def until_sent(desk: Desk, name: str, expected: Sequence[Sequence[int]]) -> None:
    endpoint = desk.subscriber.endpoint(name)
    await desk.subscriber.wait_until(lambda: len(sent(endpoint)) >= len(expected))
    assert sent(endpoint) == [list(one) for one in expected]


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_events_go_out_again_under_their_numbers_and_the_cursor_stays(desk: Desk, release: str) -> None:
    one = await desk.subscribe("again", release=release)
    await desk.send(5)
    await desk.until_numbers("again", 5)
    response = await resend(desk, one, release, eventsSinceNumber=2, eventsUntilNumber=4)
    outcome = response.json()
    assert (response.status_code, outcome["resourceType"]) == (200, "OperationOutcome")
    assert outcome["issue"][0]["severity"] == "information"
    assert outcome["issue"][0]["diagnostics"].startswith("3 events")
    await until_sent(desk, "again", [[1], [2], [3], [4], [5], [2], [3], [4]])
    repeated = desk.subscriber.endpoint("again").of_type("event-notification")[5:]
    assert [two.events_since_start for two in repeated] == [2, 3, 4], "R-252: the highest of the Bundle"
    assert (await desk.ask(one))["eventsSinceSubscriptionStart"] == "5"
    await desk.send()
    await until_sent(desk, "again", [[1], [2], [3], [4], [5], [2], [3], [4], [6]])


async def test_bounds_are_inclusive_and_open_where_absent(desk: Desk) -> None:
    one = await desk.subscribe("bounds", max_count=10)
    endpoint = desk.subscriber.endpoint("bounds")
    await desk.send(4)
    await desk.until_numbers("bounds", 4)
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
        assert (await resend(desk, one, "r5", **bounds)).status_code == 200
        expected.append(numbers)
        await until_sent(desk, "bounds", expected)
    nothing = await resend(desk, one, eventsSinceNumber=9)
    assert nothing.json()["issue"][0]["diagnostics"].startswith("0 events")
    assert (await resend(desk, one, eventsUntilInstant="2020-01-01T00:00:00Z")).status_code == 200
    await desk.send()
    await until_sent(desk, "bounds", [*expected, [5]])


async def test_what_is_under_way_is_finished_first_and_retried_as_it_was(desk: Desk) -> None:
    one = await desk.subscribe("busy")
    await desk.send(2)
    endpoint = await desk.until_numbers("busy", 2)
    gate = endpoint.answer = Gate(503)
    await desk.send()
    await gate.entered.wait()
    assert (await resend(desk, one, eventsUntilNumber=2)).status_code == 200
    assert (await resend(desk, one, eventsUntilNumber=2)).status_code == 200, "asked for twice is sent once"
    endpoint.answer = Script(503, 200, 503)
    gate.opened.set()
    await until_sent(desk, "busy", [[1], [2], [3], [3], [3], [1], [1], [2]])
    bodies = [each.body for each in endpoint.received][-3:-1]
    assert bodies[0] == bodies[1], "R-209: a retry is identical"
    await desk.send()
    await until_sent(desk, "busy", [[1], [2], [3], [3], [3], [1], [1], [2], [4]])
    assert await desk.status(one) == "active"


async def test_an_update_drops_what_was_not_sent_again_yet(desk: Desk) -> None:
    one = await desk.subscribe("old")
    await desk.send(3)
    endpoint = await desk.until_numbers("old", 3)
    gate = endpoint.answer = Gate()
    await resend(desk, one)
    await gate.entered.wait()
    await desk.request_again(one, endpoint=desk.subscriber.url("new"))
    gate.opened.set()
    await desk.until_status(one, "active")
    await desk.send()

    async def arrived() -> bool:
        return sent(desk.subscriber.endpoint("new")) == [[4]]

    await until(arrived)
    assert sent(endpoint) == [[1], [2], [3], [1]]


async def test_it_is_refused_where_it_can_not_be_done(desk: Desk) -> None:
    one = await desk.subscribe("refusing")
    url = f"/r5/Subscription/{one}/$resend"
    got = await desk.client.get(url)
    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert (await resend(desk, "none")).status_code == 404
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
        response = await resend(desk, one, "r5", **bounds)
        assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome"), bounds
    off = await desk.client.put(
        f"/r5/Subscription/{one}",
        content=orjson.dumps(desk.document("refusing") | {"id": one, "status": "off"}),
    )
    assert off.status_code == 200
    assert (await resend(desk, one)).status_code == 422


@pytest.mark.parametrize("channel", ["websocket", "server-sent-events"])
async def test_subscribers_that_come_and_read_are_told_how_to(desk: Desk, channel: str) -> None:
    document = subscription("r4", VITAL_SIGNS, "http://127.0.0.1:9/")
    del document["channel"]["endpoint"]
    if channel == "websocket":
        document["channel"]["type"] = channel
    else:
        coding = {"system": "http://fhir-broker.org/channel-types", "code": channel}
        document["channel"]["_type"] = {
            "extension": [{"url": f"{BACKPORT}backport-channel-type", "valueCoding": coding}]
        }
    created = await desk.client.post("/r4/Subscription", content=orjson.dumps(document))
    assert created.status_code == 201, created.text
    response = await resend(desk, created.json()["id"], "r4")
    assert response.status_code == 422
    assert "eventsSinceNumber" in response.json()["issue"][0]["diagnostics"]
