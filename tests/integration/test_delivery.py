"""Delivery end to end: a broker in this process, a real store, real HTTP to a subscriber that refuses, delays
and recovers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import orjson

from broker.testing.registration import register_subscription
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, Script, until
from tests.ports import free_port

GRACE = timedelta(seconds=30)


def desk_with(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, **settings: object
) -> AbstractAsyncContextManager[BrokerFixture]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[BrokerFixture]:
        headers = {"Content-Type": "application/fhir+json"}
        async with (
            start_broker(**settings) as broker,
            httpx.AsyncClient(
                base_url=broker.settings.base_url, headers=headers, timeout=10, trust_env=False
            ) as client,
        ):
            yield BrokerFixture(client, subscriber)

    return opened()


async def test_a_subscription_is_active_only_after_its_handshake_was_answered(
    broker_fixture: BrokerFixture,
) -> None:
    gate = Gate()
    broker_fixture.subscriber.endpoint("a").answer = gate
    subscription_id = (
        await register_subscription(broker_fixture.client, "/r5", broker_fixture.document("a"))
    )["id"]
    await gate.until_entered()
    assert await broker_fixture.status(subscription_id) == "requested"
    await broker_fixture.send()
    gate.opened.set()
    await broker_fixture.until_status(subscription_id, "active")
    await broker_fixture.send()
    endpoint = await broker_fixture.until_numbers("a", 1)
    assert [n.type for n in endpoint.notifications] == ["handshake", "event-notification"]


async def test_a_failed_handshake_sets_error_and_is_not_retried(broker_fixture: BrokerFixture) -> None:
    broker_fixture.subscriber.endpoint("a").answer = Script(500, 500)
    subscription_id = (
        await register_subscription(broker_fixture.client, "/r5", broker_fixture.document("a"))
    )["id"]
    await broker_fixture.until_status(subscription_id, "error")
    assert await broker_fixture.error_code(subscription_id) == "error-response"
    await broker_fixture.subscribe("other")
    assert len(broker_fixture.subscriber.endpoint("a").received) == 1


async def test_a_receiver_may_register_before_it_listens(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    async with desk_with(start_broker, subscriber, handshake_grace=GRACE) as broker_fixture:
        document = broker_fixture.document("a") | {"endpoint": f"http://127.0.0.1:{port}/late"}
        subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]

        async def has_failed() -> bool:
            return await broker_fixture.error_code(subscription_id) == "no-response"

        await until(has_failed)
        assert await broker_fixture.status(subscription_id) == "requested"
        async with SimulatedSubscriber(port=port) as late:
            await broker_fixture.until_status(subscription_id, "active")
            assert len(late.endpoint("late").of_type("handshake")) == 1
            assert await broker_fixture.error_code(subscription_id) is None


async def test_a_handshake_waits_for_a_receiver_behind_its_gateway(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(start_broker, subscriber, handshake_grace=GRACE) as broker_fixture:
        broker_fixture.subscriber.endpoint("a").answer = Script(502, 503)
        await broker_fixture.subscribe("a")
    first, *others = [received.body for received in subscriber.endpoint("a").received]
    assert others == [first, first], "R-209: a retry sends the identical body"


async def test_after_the_grace_a_handshake_that_reached_nobody_sets_error(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(
        start_broker,
        subscriber,
        retry_base=timedelta(milliseconds=50),
        handshake_grace=timedelta(milliseconds=200),
    ) as broker_fixture:
        document = broker_fixture.document("a") | {"endpoint": f"http://127.0.0.1:{free_port()}/never"}
        subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]
        await broker_fixture.until_status(subscription_id, "error")
        assert await broker_fixture.error_code(subscription_id) == "no-response"


async def test_each_status_is_a_version_of_the_subscription(broker_fixture: BrokerFixture) -> None:
    gate, client = Gate(), broker_fixture.client
    broker_fixture.subscriber.endpoint("a").answer = gate
    registered = await register_subscription(client, "/r5", broker_fixture.document("a"))
    url = f"/r5/Subscription/{registered['id']}"
    reads = [await client.get(url)]
    gate.opened.set()
    await broker_fixture.until_status(registered["id"], "active")
    reads.append(await client.get(url))
    broker_fixture.subscriber.endpoint("a").answer = Script(410)
    await broker_fixture.send()
    await broker_fixture.until_status(registered["id"], "off")
    reads.append(await client.get(url))

    metas = [read.json()["meta"] for read in reads]
    assert [meta["versionId"] for meta in metas] == ["1", "2", "3"]
    assert [read.headers["etag"] for read in reads] == ['W/"1"', 'W/"2"', 'W/"3"']
    moments = [datetime.fromisoformat(meta["lastUpdated"]) for meta in metas]
    assert moments[0] < moments[1] < moments[2]
    assert (await client.get(f"{url}/_history/3")).json()["status"] == "off"
    assert (await client.get(f"{url}/_history/2")).status_code == 404

    outdated = await client.put(url, json=reads[0].json(), headers={"If-Match": 'W/"1"'})
    assert outdated.status_code == 412
    current = await client.put(url, json=reads[0].json(), headers={"If-Match": 'W/"3"'})
    assert (current.status_code, current.headers["etag"]) == (200, 'W/"4"')
    await broker_fixture.until_status(registered["id"], "active")
    found = await client.get("/r5/Subscription", params={"_lastUpdated": f"gt{metas[2]['lastUpdated']}"})
    assert [entry["resource"]["id"] for entry in found.json()["entry"]] == [registered["id"]]


async def _break(broker_fixture: BrokerFixture, name: str) -> str:
    """A subscription in `error` that has delivered event 1 and missed 2 to 4."""
    subscription_id = await broker_fixture.subscribe(name)
    await broker_fixture.send()
    await broker_fixture.until_numbers(name, 1)
    broker_fixture.subscriber.endpoint(name).answer = Script(*[404] * 3)
    await broker_fixture.send()
    await broker_fixture.until_status(subscription_id, "error")
    await broker_fixture.send(2)
    await broker_fixture.until_counted(subscription_id, 4)
    return subscription_id


async def test_events_missed_in_error_are_delivered_in_order_after_the_client_requests_again(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await _break(broker_fixture, "a")
    endpoint = broker_fixture.subscriber.endpoint("a")
    received_before = len(endpoint.received)
    await broker_fixture.request_again(subscription_id)
    await broker_fixture.until_status(subscription_id, "active")
    await broker_fixture.until_numbers("a", 4)
    assert endpoint.notifications[received_before].type == "handshake"
    assert endpoint.notifications[received_before].events_since_start == 4
    await broker_fixture.send()
    await broker_fixture.until_numbers("a", 5)
    assert await broker_fixture.error_code(subscription_id) is None


async def test_resume_newest_skips_missed_events_and_continues_their_numbers(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(start_broker, subscriber, resume="newest") as broker_fixture:
        subscription_id = await _break(broker_fixture, "a")
        await broker_fixture.request_again(subscription_id)
        await broker_fixture.until_status(subscription_id, "active")
        await broker_fixture.send()
        endpoint = subscriber.endpoint("a")
        assert await subscriber.wait_until(lambda: endpoint.numbers == [1, 5])
        assert await broker_fixture.events(subscription_id) == [1, 2, 3, 4, 5]


async def test_retries_send_the_identical_body_until_the_endpoint_recovers(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a", max_count=10)
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(503, 500, 429)
    await broker_fixture.send()
    assert await broker_fixture.subscriber.wait_until(lambda: len(endpoint.received) >= 2)
    await broker_fixture.send(2)
    await broker_fixture.until_numbers("a", 3)
    attempts = endpoint.received[1:5]
    assert [attempt.answered for attempt in attempts] == [503, 500, 429, 200]
    assert len({attempt.body for attempt in attempts}) == 1
    assert await broker_fixture.error_code(subscription_id) is None
    times = [attempt.at_ms for attempt in attempts]
    assert times == sorted(times)


async def test_retry_after_is_honoured(start_broker: StartBroker, subscriber: SimulatedSubscriber) -> None:
    async with desk_with(start_broker, subscriber, retry_max=timedelta(seconds=5)) as broker_fixture:
        await broker_fixture.subscribe("a")
        endpoint = broker_fixture.subscriber.endpoint("a")
        endpoint.answer = Script(Answer(503, {"Retry-After": "1"}))
        await broker_fixture.send()
        await broker_fixture.until_numbers("a", 1)
    refused, accepted = endpoint.received[1:]
    assert accepted.at_ms - refused.at_ms >= 1_000


async def test_410_turns_the_subscription_off_and_later_changes_are_not_counted_or_sent(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(410)
    await broker_fixture.send()
    await broker_fixture.until_status(subscription_id, "off")
    await broker_fixture.subscribe("other")
    await broker_fixture.send()
    await broker_fixture.until_numbers("other", 1)
    assert len(endpoint.received) == 2
    assert (await broker_fixture.status_of(subscription_id))["eventsSinceSubscriptionStart"] == "1"


async def test_404_is_retried_twice_and_then_sets_error(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(*[404] * 9)
    await broker_fixture.send()
    await broker_fixture.until_status(subscription_id, "error")
    assert [request.answered for request in endpoint.received[1:]] == [404, 404, 404]
    assert await broker_fixture.error_code(subscription_id) == "error-response"


async def test_a_subscription_is_active_with_the_error_code_during_retries_and_in_error_after_the_budget(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(start_broker, subscriber, retry_budget=timedelta(seconds=1)) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a")
        endpoint = subscriber.endpoint("a")
        endpoint.answer = Script(*[503] * 1_000)
        await broker_fixture.send()
        assert await subscriber.wait_until(lambda: len(endpoint.received) >= 3)
        assert (
            await broker_fixture.status(subscription_id),
            await broker_fixture.error_code(subscription_id),
        ) == (
            "active",
            "error-response",
        )
        await broker_fixture.until_status(subscription_id, "error")
        assert await broker_fixture.error_code(subscription_id) == "error-response"
        await broker_fixture.send(2)
        await broker_fixture.until_counted(subscription_id, 3)


async def test_an_endpoint_that_refuses_connections_is_reported_as_no_response(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    document = (await broker_fixture.client.get(f"/r5/Subscription/{subscription_id}")).json()
    document |= {"endpoint": "http://127.0.0.1:1/", "status": "requested"}
    assert (
        await broker_fixture.client.put(f"/r5/Subscription/{subscription_id}", json=document)
    ).status_code == 200
    await broker_fixture.until_status(subscription_id, "error")
    assert await broker_fixture.error_code(subscription_id) == "no-response"


async def test_heartbeats_are_sent_at_the_period_while_idle_and_have_no_number(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a", heartbeat_s=1)
    await broker_fixture.send()
    endpoint = await broker_fixture.until_numbers("a", 1)
    assert await broker_fixture.subscriber.wait_until(lambda: len(endpoint.of_type("heartbeat")) >= 2)
    beats = [
        (r.at_ms, r.notification)
        for r in endpoint.received
        if r.notification and r.notification.type == "heartbeat"
    ]
    assert {n.events_since_start for _, n in beats} == {1}
    before = [r.at_ms for r in endpoint.received if r.at_ms < beats[0][0]][-1]
    assert beats[0][0] - before >= 950
    assert beats[1][0] - beats[0][0] >= 950
    assert await broker_fixture.events(subscription_id) == [1]


async def test_no_heartbeat_is_sent_in_error(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("a", heartbeat_s=1)
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(404, 404, 404)
    await broker_fixture.send()
    await broker_fixture.until_status(subscription_id, "error")
    received_before = len(endpoint.received)
    await broker_fixture.subscribe("beating", heartbeat_s=1)
    beating = broker_fixture.subscriber.endpoint("beating")
    assert await broker_fixture.subscriber.wait_until(lambda: len(beating.of_type("heartbeat")) >= 2)
    assert len(endpoint.received) == received_before


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


async def test_a_subscription_is_off_after_its_end_and_sends_nothing_more(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    await broker_fixture.send()
    endpoint = await broker_fixture.until_numbers("a", 1)
    await broker_fixture.request_again(subscription_id, end=_in(3))
    await broker_fixture.until_status(subscription_id, "off")
    received_before = len(endpoint.received)
    await broker_fixture.subscribe("other")
    await broker_fixture.send()
    await broker_fixture.until_numbers("other", 1)
    assert len(endpoint.received) == received_before


async def test_a_subscription_ends_during_a_backoff_too(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    slow = {
        "retry_base": timedelta(seconds=60),
        "retry_max": timedelta(seconds=60),
        "retry_budget": timedelta(hours=1),
    }
    async with desk_with(start_broker, subscriber, **slow) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a")
        subscriber.endpoint("a").answer = Script(200, *[503] * 9)
        await broker_fixture.request_again(subscription_id, end=_in(5))
        await broker_fixture.until_status(subscription_id, "active")
        await broker_fixture.send()
        assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").received) == 3)
        await broker_fixture.until_status(subscription_id, "off")


async def test_deleting_a_subscription_stops_its_retries(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(*[503] * 1_000)
    await broker_fixture.send()
    assert await broker_fixture.subscriber.wait_until(lambda: len(endpoint.received) >= 3)
    assert (await broker_fixture.client.delete(f"/r5/Subscription/{subscription_id}")).status_code == 204
    received_before = len(endpoint.received)
    broker_fixture.subscriber.endpoint("other").answer = Script(
        200, *[503] * 6
    )  # its last comes after five waits as long
    await broker_fixture.subscribe("other")
    await broker_fixture.send()
    await broker_fixture.until_numbers("other", 1)
    assert len(endpoint.received) <= received_before + 1, "at most one attempt was under way"
    assert (await broker_fixture.client.get(f"/r5/Subscription/{subscription_id}")).status_code == 404


async def test_the_handshake_of_a_deleted_subscription_does_not_activate_a_new_one_with_its_id(
    broker_fixture: BrokerFixture,
) -> None:
    old, new = Gate(), Gate(status=500)
    broker_fixture.subscriber.endpoint("old").answer = old
    broker_fixture.subscriber.endpoint("new").answer = new
    url = "/r5/Subscription/namesake"
    document = broker_fixture.document("old") | {"id": "namesake"}
    assert (await broker_fixture.client.put(url, json=document)).status_code == 201
    await old.until_entered()
    assert (await broker_fixture.client.delete(url)).status_code == 204
    document["endpoint"] = broker_fixture.subscriber.url("new")
    assert (await broker_fixture.client.put(url, json=document)).status_code == 201
    await new.until_entered()
    old.opened.set()
    assert await broker_fixture.subscriber.wait_until(
        lambda: bool(broker_fixture.subscriber.endpoint("old").received)
    )
    new.opened.set()
    await broker_fixture.until_status("namesake", "error")


async def test_the_maximum_timeout_applies_to_a_subscription_without_a_timeout(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(start_broker, subscriber, max_timeout=timedelta(seconds=1)) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a")
        gate = subscriber.endpoint("a").answer = Gate()
        await broker_fixture.send()

        async def has_failed() -> bool:
            return await broker_fixture.error_code(subscription_id) == "no-response"

        await until(has_failed, 20)
        gate.opened.set()
        await broker_fixture.until_numbers("a", 1)


async def test_each_subscription_has_its_own_timeout(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("short", timeout_s=1)
    await broker_fixture.subscribe("long", timeout_s=30)
    short, long = Gate(), Gate()
    broker_fixture.subscriber.endpoint("short").answer = short
    broker_fixture.subscriber.endpoint("long").answer = long
    await broker_fixture.send()

    async def has_failed() -> bool:
        return await broker_fixture.error_code(subscription_id) is not None

    await until(has_failed)
    assert await broker_fixture.error_code(subscription_id) == "no-response"
    assert long.inside == 1
    short.opened.set()
    long.opened.set()
    await broker_fixture.until_numbers("short", 1)
    await broker_fixture.until_numbers("long", 1)


async def test_a_backlog_is_sent_in_full_notifications_in_order_and_one_at_a_time(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a", max_count=4)
    gate = Gate()
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = gate
    await broker_fixture.send(10)
    await gate.until_entered()
    await broker_fixture.until_counted(subscription_id, 10)
    gate.opened.set()
    await broker_fixture.until_numbers("a", 10)
    sizes = [len(n.events) for n in endpoint.of_type("event-notification")]
    assert sum(sizes) == 10
    assert sizes[1:-1] == [4] * len(sizes[1:-1])
    assert [n.events_since_start for n in endpoint.of_type("event-notification")][-1] == 10
    assert (gate.max_inside, endpoint.duplicates) == (1, 0)


async def test_concurrent_changes_never_cause_two_requests_at_once_to_one_subscription(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("a", max_count=3)
    gate = Gate()
    gate.opened.set()
    broker_fixture.subscriber.endpoint("a").answer = gate
    await asyncio.gather(*(broker_fixture.send(5, f"p{n}") for n in range(8)))
    endpoint = await broker_fixture.until_numbers("a", 40)
    assert (gate.max_inside, endpoint.duplicates) == (1, 0)


async def test_a_slow_endpoint_does_not_hold_up_another(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.subscribe("slow")
    await broker_fixture.subscribe("quick")
    gate = Gate()
    broker_fixture.subscriber.endpoint("slow").answer = gate
    await broker_fixture.send(5)
    await broker_fixture.until_numbers("quick", 5)
    assert gate.inside == 1
    gate.opened.set()
    await broker_fixture.until_numbers("slow", 5)


async def test_notifications_are_bounded_in_bytes(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with desk_with(start_broker, subscriber, max_notification=1_500) as broker_fixture:
        subscription_id = await broker_fixture.subscribe(
            "a", release="r4", content="full-resource", max_count=100
        )
        gate = Gate()
        endpoint = subscriber.endpoint("a")
        endpoint.answer = gate
        await broker_fixture.send(6)
        await gate.until_entered()
        await broker_fixture.until_counted(subscription_id, 6)
        gate.opened.set()
        await broker_fixture.until_numbers("a", 6)
        for notification in endpoint.of_type("event-notification"):
            size = sum(len(orjson.dumps(resource)) for resource in notification.resources)
            assert len(notification.events) == 1 or size <= 1_500
        assert max(len(n.events) for n in endpoint.of_type("event-notification")) > 1


async def test_a_subscription_updated_during_a_request_takes_effect_with_its_own_handshake(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("before")
    gate = Gate()
    broker_fixture.subscriber.endpoint("before").answer = gate
    await broker_fixture.send(3)
    await gate.until_entered()
    await broker_fixture.until_counted(subscription_id, 3)
    await broker_fixture.request_again(subscription_id, endpoint=broker_fixture.subscriber.url("after"))
    gate.opened.set()
    after = broker_fixture.subscriber.endpoint("after")
    assert await broker_fixture.subscriber.wait_until(lambda: after.numbers == [2, 3])
    assert after.notifications[0].type == "handshake"
    assert broker_fixture.subscriber.endpoint("before").numbers == [1]
    await broker_fixture.until_status(subscription_id, "active")
