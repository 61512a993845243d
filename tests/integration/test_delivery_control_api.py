"""`$delivery`, `$retry` and `$send-test`: one broker for all of this module's questions."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script, until
from tests.integration.operations_client import groups, value


async def post(client: httpx.AsyncClient, subscription_id: str, operation: str, status: int = 200) -> Any:
    response = await client.post(f"/r4/Subscription/{subscription_id}/${operation}")
    assert response.status_code == status, response.text
    return response.json()


async def test_delivery_is_reported_retried_and_tested(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    hour = timedelta(hours=1)
    async with (
        start_broker(retry_base=hour, retry_max=hour, retry_budget=24 * hour) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as client,
    ):
        client.headers["Content-Type"] = "application/fhir+json"
        fixture = BrokerFixture(client, subscriber)
        subscription_id = await fixture.subscribe("a")
        idle = await post(client, subscription_id, "delivery")
        assert [value(idle, name) for name in ("status", "release", "events", "delivered", "waiting")] == [
            "active",
            "r5",
            "0",
            "0",
            "0",
        ]
        assert (value(idle, "attempts"), value(idle, "next-attempt")) == (0, None)
        nothing = await post(client, subscription_id, "retry")
        assert value(nothing, "retried") is False
        assert "No notification waits" in value(nothing, "reason")

        subscriber.endpoint("a").answer = Script(503)
        await fixture.send(2)

        async def has_failed() -> bool:
            return bool(value(await post(client, subscription_id, "delivery"), "attempts"))

        await until(has_failed)
        await fixture.until_counted(subscription_id, 2)
        failed = await post(client, subscription_id, "delivery")
        assert [value(failed, name) for name in ("events", "delivered", "waiting")] == ["2", "0", "2"]
        assert value(failed, "next-attempt").endswith("Z")
        [error] = groups(failed, "error")
        assert value(error, "code") == "error-response"
        assert "503" in value(error, "text")

        assert value(await post(client, subscription_id, "retry"), "retried") is True
        await fixture.until_numbers("a", 2)

        async def is_delivered() -> bool:
            return bool(value(await post(client, subscription_id, "delivery"), "delivered") == "2")

        await until(is_delivered)
        tested = await post(client, subscription_id, "send-test")
        assert value(tested, "delivered") is True
        assert value(tested, "duration-ms") >= 0
        [heartbeat] = subscriber.endpoint("a").of_type("heartbeat")
        assert (heartbeat.status, heartbeat.events_since_start, heartbeat.events) == ("active", 2, ())
        subscriber.endpoint("a").answer = Script(410)
        refused = await post(client, subscription_id, "send-test")
        assert value(refused, "delivered") is False
        assert "410" in value(refused, "reason")
        after = await post(client, subscription_id, "delivery")
        assert (value(after, "status"), value(after, "attempts")) == ("active", 0), "a test changes nothing"

        await fixture.client.put(
            f"/r5/Subscription/{subscription_id}",
            json=(await client.get(f"/r5/Subscription/{subscription_id}")).json() | {"status": "off"},
        )
        off = await post(client, subscription_id, "retry")
        assert value(off, "retried") is False
        assert "is off" in value(off, "reason")

        await post(client, "nobody", "delivery", 404)
        await post(client, "nobody", "retry", 404)
        await post(client, "nobody", "send-test", 404)
        wrong = await client.post(f"/r4/Subscription/{subscription_id}/$retry?force=true")
        assert wrong.status_code == 400
        assert "Send none." in wrong.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize("release", ["r4", "r5"])
async def test_a_channel_without_pushes_cannot_be_tested(client: httpx.AsyncClient, release: str) -> None:
    pull = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": "http://fhir-broker.org/topics/vital-signs",
        "channelType": {"code": "websocket"},
        "content": "empty",
    }
    created = await client.post("/r5/Subscription", json=pull)
    assert created.status_code == 201, created.text
    refused = await client.post(f"/{release}/Subscription/{created.json()['id']}/$send-test")
    assert refused.status_code == 422
    assert "does not send over the channel websocket" in refused.text
