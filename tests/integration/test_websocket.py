"""The websocket channel over a real socket: bind, handshake, events in order, resume, single use, expiry
(R-320..R-327).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from broker.app import Running
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import OPEN_PRINCIPAL
from broker.model.subscription import SubscriptionId
from broker.receiver.notifications import ReceivedNotification, read_notification
from broker.store import keys
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from broker.store.tokens import Tokens
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import BACKPORT, subscription
from tests.integration.broker_fixture import until
from tests.stores import redis_of

TOPIC = "http://fhir-broker.org/topics/vital-signs"
TIMEOUT_S = 60
PONG = {"type": "pong"}
# a machine that is busy may answer neither the opening nor a ping of the protocol for a while
connect = partial(websockets.connect, open_timeout=TIMEOUT_S, ping_interval=None)


def document(release: str, **more: Any) -> dict[str, Any]:
    made = subscription(release, TOPIC, "http://127.0.0.1/", **more)
    if release == "r5":
        made["channelType"]["code"] = "websocket"
        del made["endpoint"]
    else:
        made["channel"]["type"] = "websocket"
        del made["channel"]["endpoint"]
    return made


async def registered(client: httpx.AsyncClient, release: str = "r5", **more: Any) -> str:
    response = await client.post(f"/{release}/Subscription", json=document(release, **more))
    assert response.status_code == 201, response.text
    assert response.json()["status"] == "active"
    return str(response.json()["id"])


async def bound_token(client: httpx.AsyncClient, *ids: str, release: str = "r5") -> tuple[str, str]:
    response = await client.get(
        f"/{release}/Subscription/$get-ws-binding-token", params={"id": ",".join(ids)}
    )
    assert response.status_code == 200, response.text
    stored: dict[str, Any] = {}
    for parameter in response.json()["parameter"]:
        stored[parameter["name"]] = next(value for key, value in parameter.items() if key.startswith("value"))
    return str(stored["token"]), str(stored["websocket-url"])


@asynccontextmanager
async def bound(
    client: httpx.AsyncClient, subscription_id: str, since: int | None = None
) -> AsyncIterator[ClientConnection]:
    token, url = await bound_token(client, subscription_id)
    async with connect(url) as socket:
        payload = {"token": token} | ({} if since is None else {"eventsSinceNumber": since})
        await socket.send(json.dumps({"type": "bind-with-token", "payload": payload}))
        handshake = await received(socket)
        assert handshake.type == "handshake"
        yield socket


async def received(socket: ClientConnection) -> ReceivedNotification:
    async with asyncio.timeout(TIMEOUT_S):
        message = await socket.recv()
    assert isinstance(message, str)
    return read_notification(message.encode())


async def until_pong(socket: ClientConnection) -> list[ReceivedNotification]:
    """What the broker sent before it answers a ping now: the messages of a connection keep their order."""
    await socket.send('{"type":"ping"}')
    messages = []
    async with asyncio.timeout(TIMEOUT_S):
        while json.loads(message := await socket.recv()) != PONG:
            messages.append(read_notification(str(message).encode()))
    return messages


async def until_recorded(store: Store, subscription_id: str, number: int) -> None:
    """Until the broker has recorded that the event was sent: else the next connection gets it again."""
    subscriptions = Subscriptions(store)

    async def is_recorded() -> bool:
        record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId(subscription_id))
        return record is not None and record.cursor >= number

    await until(is_recorded)


async def numbers(socket: ClientConnection, last: int) -> list[int]:
    """The event numbers received until `last` is among them."""
    seen: list[int] = []
    while last not in seen:
        seen += [event.number for event in (await received(socket)).events]
    return seen


async def post(client: httpx.AsyncClient, times: int = 1) -> None:
    for value in range(times):
        body = observation(HEART_RATE, "p1", "2026-01-01T08:00:00Z", 60 + value)
        assert (await client.post("/r4/Observation", json=body)).status_code == 201


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_a_bound_connection_is_sent_a_handshake_and_then_each_event(
    release: str, client: httpx.AsyncClient
) -> None:
    subscription_id = await registered(client, release)
    token, url = await bound_token(client, subscription_id, release=release)
    async with connect(url) as socket:
        await socket.send(f"bind-with-token {token}")
        handshake = await received(socket)
        assert (handshake.type, handshake.status) == ("handshake", "active")
        await post(client, 3)
        assert await numbers(socket, 3) == [1, 2, 3]


async def test_events_while_nobody_is_bound_come_with_the_next_connection(
    client: httpx.AsyncClient, store: Store
) -> None:
    subscription_id = await registered(client, max_count=10)
    async with bound(client, subscription_id) as socket:
        await post(client, 2)
        assert await numbers(socket, 2) == [1, 2]
        await until_recorded(store, subscription_id, 2)
    await post(client, 3)
    async with bound(client, subscription_id) as socket:
        assert await numbers(socket, 5) == [3, 4, 5]


async def test_a_client_may_resume_from_an_event_number(client: httpx.AsyncClient) -> None:
    subscription_id = await registered(client)
    async with bound(client, subscription_id) as socket:
        await post(client, 4)
        assert await numbers(socket, 4) == [1, 2, 3, 4]
    async with bound(client, subscription_id, since=2) as socket:
        assert await numbers(socket, 4) == [2, 3, 4]


async def test_a_reader_that_requests_expired_events_waits_for_the_next_without_polling_the_store(
    store: Store, client: httpx.AsyncClient
) -> None:
    subscription_id = await registered(client)
    async with bound(client, subscription_id) as socket:
        await post(client, 2)
        assert await numbers(socket, 2) == [1, 2]
        await until_recorded(store, subscription_id, 2)
    await redis_of(store).delete(keys.outbox(*_place(store, subscription_id)))
    loop = asyncio.get_running_loop()
    async with bound(client, subscription_id, since=1) as socket:
        before, started = await _reads(store), loop.time()
        async with asyncio.timeout(TIMEOUT_S):
            # an answer of its own says that the connection is served: were it reading without pause,
            # thousands would pass
            for _ in range(20):
                assert (await client.get(f"/r5/Subscription/{subscription_id}")).status_code == 200
        of_other_tasks = 5 * (loop.time() - started)  # at most so many in a second
        assert await _reads(store) - before < 20 + of_other_tasks
        await post(client, 1)
        assert await numbers(socket, 3) == [3]


def _place(store: Store, subscription_id: str) -> tuple[int, Tenant, SubscriptionId]:
    return (
        store.layout.shard_of(DEFAULT_TENANT, subscription_id),
        DEFAULT_TENANT,
        SubscriptionId(subscription_id),
    )


async def _reads(store: Store) -> int:
    """How often outboxes were read."""
    return int((await redis_of(store).info("commandstats")).get("cmdstat_xrange", {}).get("calls", 0))


async def test_one_connection_carries_several_subscriptions(client: httpx.AsyncClient) -> None:
    first, second = await registered(client), await registered(client, content="empty")
    token, url = await bound_token(client, first, second)
    async with connect(url) as socket:
        await socket.send(f"bind-with-token: {token}")
        handshakes = {(await received(socket)).subscription.rpartition("/")[2] for _ in range(2)}
        assert handshakes == {first, second}
        await post(client)
        reported = {(await received(socket)).subscription.rpartition("/")[2] for _ in range(2)}
        assert reported == {first, second}


async def outcome(socket: ClientConnection) -> str:
    """The code of the OperationOutcome that comes next."""
    async with asyncio.timeout(TIMEOUT_S):
        message = json.loads(await socket.recv())
    assert message["resourceType"] == "OperationOutcome"
    return str(message["issue"][0]["code"])


async def test_a_token_that_was_used_is_refused_and_the_connection_keeps_its_other_bindings(
    client: httpx.AsyncClient,
) -> None:
    used, _ = await bound_token(client, await registered(client))
    token, url = await bound_token(client, await registered(client))
    async with connect(url) as first, connect(url) as second:
        await first.send(f"bind-with-token {used}")
        await received(first)
        await second.send(f"bind-with-token {token}")
        await received(second)
        await second.send(f"bind-with-token {used}")
        assert await outcome(second) == "security"
        await post(client)
        assert (await received(second)).type == "event-notification"


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "bind-with-token",
        '{"type": "bind-with-token"}',
        '{"type": "unknown", "payload": {}}',
        "{",
        "[]",
        b"\xff\x00",
    ],
)
async def test_a_message_that_is_not_understood_leaves_the_bindings_alone(
    message: str | bytes, client: httpx.AsyncClient
) -> None:
    async with bound(client, await registered(client)) as socket:
        await socket.send(message)
        assert await outcome(socket) == "structure"
        await post(client)
        assert (await received(socket)).type == "event-notification"


async def test_an_application_ping_is_answered(client: httpx.AsyncClient) -> None:
    async with bound(client, await registered(client)) as socket:
        assert await until_pong(socket) == []
        await post(client)
        assert (await received(socket)).type == "event-notification"


async def test_a_message_beyond_the_limit_closes_the_connection(client: httpx.AsyncClient) -> None:
    async with bound(client, await registered(client)) as socket:
        await socket.send("x" * 5_000)
        async with asyncio.timeout(TIMEOUT_S):
            await socket.wait_closed()
        assert socket.close_code == 1009


async def test_a_binding_ends_when_its_token_expires(client: httpx.AsyncClient, store: Store) -> None:
    """While another connection receives heartbeats, the one with the expired token receives nothing."""
    expiring_id, other_id = [await registered(client, heartbeat_s=1) for _ in range(2)]
    _, url = await bound_token(client, expiring_id)
    loop = asyncio.get_running_loop()
    async with connect(url) as expiring, bound(client, other_id) as other:
        lifetime_ms = 8_000  # a busy machine may take some seconds to bind
        token, _ = await Tokens(store).issue(OPEN_PRINCIPAL, [SubscriptionId(expiring_id)], lifetime_ms)
        expires = loop.time() + lifetime_ms / 1000
        await expiring.send(f"bind-with-token {token}")
        assert (await received(expiring)).type == "handshake"
        while loop.time() < expires:
            await received(other)
        await until_pong(expiring)
        for _ in range(2):
            assert (await received(other)).type == "heartbeat"
        assert await until_pong(expiring) == []


async def test_heartbeats_are_sent_at_the_requested_period(client: httpx.AsyncClient) -> None:
    subscription_id = await registered(client, heartbeat_s=1)
    async with bound(client, subscription_id) as socket:
        heartbeat = await received(socket)
        assert (heartbeat.type, heartbeat.events_since_start) == ("heartbeat", 0)


async def test_unbinding_ends_the_notifications(client: httpx.AsyncClient) -> None:
    """An event that another connection has received does not come."""
    subscription_id = await registered(client)
    token, url = await bound_token(client, subscription_id)
    async with connect(url) as socket, bound(client, subscription_id) as other:
        await socket.send(f"bind-with-token {token}")
        assert (await received(socket)).type == "handshake"
        await socket.send(json.dumps({"type": "unbind-from-token", "payload": {"token": token}}))
        await until_pong(socket)
        await post(client)
        assert await numbers(other, 1) == [1]
        assert await until_pong(socket) == []


async def test_tokens_are_for_active_websocket_subscriptions_only(
    client: httpx.AsyncClient, broker: Running
) -> None:
    hook = await client.post("/r5/Subscription", json=subscription("r5", TOPIC, "http://127.0.0.1:9/x"))
    refused = await client.get(f"/r5/Subscription/{hook.json()['id']}/$get-ws-binding-token")
    assert refused.status_code == 422
    assert (await client.post("/r5/Subscription/nope/$get-ws-binding-token")).status_code == 404
    assert (await client.get("/r5/Subscription/$get-ws-binding-token")).status_code == 404
    assert broker.settings.base_url


async def test_headers_are_refused_for_a_websocket(client: httpx.AsyncClient) -> None:
    made = document("r4")
    made["channel"]["header"] = ["X-A: b"]
    refused = await client.post("/r4/Subscription", json=made)
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == ["Subscription.channel.header[0]"]
    assert BACKPORT
