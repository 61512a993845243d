"""Server-sent events: one Bundle an event, resumed by the number of the last (an extra of this broker)."""

import asyncio
from typing import Any

import httpx
import orjson

from broker.receiver.notifications import ReceivedNotification, read_notification
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture

TOPIC = "http://fhir-broker.org/topics/vital-signs"


async def registered(client: httpx.AsyncClient, **more: Any) -> str:
    made = subscription("r5", TOPIC, "http://127.0.0.1/", **more)
    made["channelType"] = {"system": "http://fhir-broker.org/channel-types", "code": "server-sent-events"}
    del made["endpoint"]
    response = await client.post("/r5/Subscription", json=made)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def post(client: httpx.AsyncClient, times: int) -> None:
    for value in range(times):
        body = orjson.dumps(
            observation(HEART_RATE, "p1", "2026-01-01T08:00:00Z", 60 + value), option=orjson.OPT_INDENT_2
        )
        assert (await client.post("/r4/Observation", content=body)).status_code == 201


async def read(
    client: httpx.AsyncClient, subscription_id: str, last: int, **headers: str
) -> tuple[list[ReceivedNotification], list[str]]:
    """The notifications until event `last`, and the ids of the events."""
    notifications: list[ReceivedNotification] = []
    ids: list[str] = []
    lines: list[str] = []
    async with (
        asyncio.timeout(60),
        client.stream(
            "GET",
            f"/r5/Subscription/{subscription_id}/$stream",
            headers={"Accept": "text/event-stream", **headers},
        ) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                ids.append(line[4:])
            elif line.startswith("data: "):
                lines.append(line[6:])
            elif not line and lines:
                notifications.append(read_notification("\n".join(lines).encode()))
                lines = []
                if any(event.number == last for event in notifications[-1].events):
                    break
    return notifications, ids


async def test_a_stream_begins_with_a_handshake_and_carries_whole_bundles(client: httpx.AsyncClient) -> None:
    subscription_id = await registered(client, content="full-resource")
    await post(client, 2)
    notifications, ids = await read(client, subscription_id, 2)
    assert [item.type for item in notifications] == ["handshake", "event-notification", "event-notification"]
    assert ids == ["1", "2"]
    assert notifications[1].resources[0]["resourceType"] == "Observation"


async def test_a_browser_that_reconnects_resumes_behind_its_last_event(client: httpx.AsyncClient) -> None:
    subscription_id = await registered(client)
    await post(client, 3)
    assert (await read(client, subscription_id, 2))[1] == ["1", "2"]
    assert (await read(client, subscription_id, 3, **{"Last-Event-ID": "1"}))[1] == ["2", "3"]


async def test_a_stream_of_an_unknown_or_inactive_subscription_is_refused(client: httpx.AsyncClient) -> None:
    accept = {"Accept": "text/event-stream"}
    assert (await client.get("/r5/Subscription/nope/$stream", headers=accept)).status_code == 404
    subscription_id = await registered(client)
    document = (await client.get(f"/r5/Subscription/{subscription_id}")).json() | {"status": "off"}
    assert (await client.put(f"/r5/Subscription/{subscription_id}", json=document)).status_code == 200
    refused = await client.get(f"/r5/Subscription/{subscription_id}/$stream", headers=accept)
    assert refused.status_code == 406
    assert refused.json()["resourceType"] == "OperationOutcome"


async def test_a_second_reader_does_not_move_delivery_of_a_rest_hook(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    endpoint = subscriber.endpoint("hook")
    made = subscription("r5", TOPIC, subscriber.url("hook"))
    subscription_id = (await client.post("/r5/Subscription", json=made)).json()["id"]
    await BrokerFixture(client, subscriber).until_status(subscription_id, "active")
    await post(client, 2)
    assert (await read(client, subscription_id, 2, **{"Last-Event-ID": "0"}))[1] == ["1", "2"]
    assert await subscriber.wait_until(lambda: endpoint.numbers == [1, 2])
