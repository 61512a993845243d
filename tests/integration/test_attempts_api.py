"""`$attempts` and `fhir-broker subscriptions attempts`: what an operator answers to "did you send it?"."""

import asyncio
import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.subscription import SubscriptionId
from broker.store import attempt_keys
from broker.store.bodies import SEALED
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script, until
from tests.integration.commands import run
from tests.integration.operations_client import groups, value
from tests.integration.test_event_stream import read as read_stream

pytestmark = pytest.mark.usefixtures("long_leases")
SECRET = "Bearer s3cret"
DELAY = timedelta(milliseconds=20)


async def attempts(client: httpx.AsyncClient, subscription_id: str, base: str = "r4", **where: Any) -> Any:
    response = await client.get(f"/{base}/Subscription/{subscription_id}/$attempts", params=where)
    assert response.status_code == 200, response.text
    return response.json()


async def outcomes(client: httpx.AsyncClient, subscription_id: str, **where: Any) -> list[str]:
    listed = await attempts(client, subscription_id, **where)
    return [value(each, "outcome") for each in groups(listed, "attempt")]


async def test_attempts_are_listed_filtered_paged_and_shown_in_full(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    async with (
        start_broker(retry_base=DELAY, retry_max=DELAY, attempt_bodies="all", seal_resources=True) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        client.headers["Content-Type"] = "application/fhir+json"
        fixture, endpoint = BrokerFixture(client, subscriber), subscriber.endpoint("a")
        own = await fixture.subscribe("a", headers=(("Authorization", SECRET),), content="full-resource")
        await client.post(f"/r4/Subscription/{own}/$rotate-secret")
        endpoint.answer = Script(503, 200)
        await fixture.send(1)
        await fixture.until_numbers("a", 1)
        await fixture.send(1)
        await fixture.until_numbers("a", 2)

        async def all_recorded() -> bool:
            return len(await outcomes(client, own)) == 4

        await until(all_recorded)
        assert await outcomes(client, own) == ["delivered", "delivered", "refused", "delivered"]
        assert await outcomes(client, own, outcome="failed") == ["refused"]
        assert await outcomes(client, own, outcome="gone") == []
        assert await outcomes(client, own, event="1") == ["delivered", "refused"]
        assert await outcomes(client, own, since="2200-01-01T00:00:00Z") == []

        [second, retried, refused, handshake] = groups(await attempts(client, own), "attempt")
        assert [value(refused, name) for name in ("status", "number", "first-event", "last-event")] == [
            503, 1, "1", "1",
        ]  # fmt: skip
        assert "503" in value(refused, "error")
        assert (value(retried, "number"), value(retried, "status")) == (2, 200)
        assert value(retried, "notification") == value(refused, "notification")
        assert value(retried, "body-sha256") == value(refused, "body-sha256")
        assert value(handshake, "type") == "handshake"
        assert value(handshake, "first-event") is None
        assert value(second, "endpoint") == subscriber.url("a")
        received = endpoint.received[-1]
        assert value(second, "body-sha256") == sha256(received.body).hexdigest()
        assert value(second, "body-bytes") == len(received.body)
        headers = {value(each, "name").lower(): value(each, "value") for each in groups(second, "header")}
        assert headers == {
            "content-type": "application/fhir+json",
            "authorization": "********",
            "webhook-id": value(second, "notification"),
            "webhook-timestamp": headers["webhook-timestamp"],
            "webhook-signature": "********",
        }
        assert dict(received.headers)["webhook-timestamp"] == headers["webhook-timestamp"]

        first_page = await attempts(client, own, "r5", count=3)
        rest = await attempts(client, own, "r4b", count=3, before=value(first_page, "next"))
        assert [value(each, "id") for page in (first_page, rest) for each in groups(page, "attempt")] == [
            value(each, "id") for each in (second, retried, refused, handshake)
        ]
        assert value(rest, "next") is None

        [shown] = groups(await attempts(client, own, id=value(second, "id")), "attempt")
        assert value(shown, "body") == received.body.decode()
        key = (DEFAULT_TENANT, SubscriptionId(own))
        texts = attempt_keys.of_subscription(store.layout.shard_of(*key), key).texts
        [stored] = await store.send([("HVALS", texts)])
        assert len(stored) == 4
        assert all(text.startswith(SEALED) for text in stored)

        for where, status in (
            ({"outcome": "lost"}, 400),
            ({"count": "0"}, 400),
            ({"before": "x"}, 400),
            ({"event": "x"}, 400),
            ({"since": "yesterday"}, 400),
            ({"id": "1-1"}, 404),
            ({"other": "1"}, 400),
        ):
            refusal = await client.get(f"/r5/Subscription/{own}/$attempts", params=where)
            assert refusal.status_code == status, (where, refusal.text)
        assert (await client.get("/r5/Subscription/nobody/$attempts")).status_code == 404

        await _check_command(broker.settings.base_url, own, value(refused, "id"))
        await _check_test_and_stream(fixture, own)
        await client.delete(f"/r5/Subscription/{own}")
        assert (await client.get(f"/r5/Subscription/{own}/$attempts")).status_code == 410


async def _check_command(base: str, own: str, failed_id: str) -> None:
    async def command(*arguments: str) -> str:
        done = await asyncio.to_thread(run, "subscriptions", "attempts", own, *arguments, "--base", base)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(await command("--outcome", "failed", "--json"))
    assert [(each["id"], each["status"], each["header"][0]["name"]) for each in listed] == [
        (failed_id, 503, "Content-Type")
    ]
    table = await command("--limit", "3")
    assert failed_id in table
    assert "There are more attempts" in table
    shown = await command("--attempt", failed_id)
    assert "the endpoint answered 503" in shown
    assert SECRET not in shown


async def _check_test_and_stream(fixture: BrokerFixture, own: str) -> None:
    """A test is recorded, and what an open connection was sent."""
    client = fixture.client
    await client.post(f"/r4/Subscription/{own}/$send-test")
    [newest, *_] = groups(await attempts(client, own), "attempt")
    assert (value(newest, "type"), value(newest, "number"), value(newest, "status")) == ("heartbeat", 0, 200)

    reading = asyncio.create_task(read_stream(client, own, 3, **{"Last-Event-ID": "1"}))

    async def is_recorded() -> bool:
        [last, *_] = groups(await attempts(client, own, event="2"), "attempt")
        return bool(value(last, "endpoint") == "127.0.0.1")

    await until(is_recorded)  # while the connection is open: one that closes may lose its last entry
    await fixture.send(1)
    notifications, _ = await reading
    assert [each.type for each in notifications] == ["handshake", "event-notification", "event-notification"]
    [streamed, *_] = groups(await attempts(client, own, event="2"), "attempt")
    assert (value(streamed, "outcome"), value(streamed, "number")) == ("delivered", 0)
    assert value(streamed, "body-bytes") > 0
