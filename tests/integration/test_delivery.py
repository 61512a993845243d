"""Delivery end to end: a broker in this process, a real store, real HTTP to a subscriber that refuses, delays
and recovers.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import orjson

from broker.testing.subscriber import SimulatedSubscriber
from broker.workers.dispatcher import LEASE_MS
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, Script, broker_with


async def test_heartbeats_are_sent_at_the_period_while_idle_and_have_no_number(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a", heartbeat_s=1)
    await broker_fixture.send()
    endpoint = await broker_fixture.until_numbers("a", 1)
    # on a slow machine heartbeats came before the event too
    earlier = len(endpoint.received)
    event = endpoint.received[-1]
    assert await broker_fixture.subscriber.wait_until(lambda: len(endpoint.received) >= earlier + 2)
    beats = endpoint.received[earlier : earlier + 2]
    notifications = endpoint.notifications[earlier : earlier + 2]
    assert [(each.type, each.events_since_start) for each in notifications] == [("heartbeat", 1)] * 2
    assert beats[0].at_ms - event.at_ms >= 950
    assert beats[1].at_ms - beats[0].at_ms >= 950
    assert await broker_fixture.events(subscription_id) == [1]


async def test_no_heartbeat_is_sent_in_error(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("a", heartbeat_s=1)
    endpoint = broker_fixture.subscriber.endpoint("a")
    endpoint.answer = Script(*[404] * 9)
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
    await broker_fixture.subscribe("other")
    received_before = len(endpoint.received)
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
    async with broker_with(start_broker, subscriber, **slow) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a")
        subscriber.endpoint("a").answer = Script(200, *[503] * 9)
        await broker_fixture.request_again(subscription_id, end=_in(15))
        await broker_fixture.until_status(subscription_id, "active")
        await broker_fixture.send()
        assert await subscriber.wait_until(lambda: len(subscriber.endpoint("a").received) == 3)
        await broker_fixture.until_status(subscription_id, "off")


async def test_a_backlog_is_sent_in_full_notifications_in_order_and_one_at_a_time(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a", max_count=4, timeout_s=60)
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


async def test_a_process_that_was_paused_does_not_send_again_what_is_under_way(
    broker_fixture: BrokerFixture,
) -> None:
    await broker_fixture.subscribe("a", timeout_s=60)
    gate = Gate()
    broker_fixture.subscriber.endpoint("a").answer = gate
    await broker_fixture.send()
    await gate.until_entered()
    time.sleep(LEASE_MS / 1000 + 0.5)  # noqa: ASYNC251 nothing in this process runs meanwhile
    await broker_fixture.subscribe("other")
    gate.opened.set()
    endpoint = await broker_fixture.until_numbers("a", 1)
    assert (gate.max_inside, endpoint.duplicates) == (1, 0)


async def test_a_slow_endpoint_does_not_hold_up_another(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.subscribe("slow", timeout_s=60)
    await broker_fixture.subscribe("quick")
    gate = Gate()
    broker_fixture.subscriber.endpoint("slow").answer = gate
    await broker_fixture.send(5)
    await broker_fixture.until_numbers("quick", 5)
    await gate.until_entered()
    assert gate.inside == 1
    gate.opened.set()
    await broker_fixture.until_numbers("slow", 5)


async def test_notifications_are_bounded_in_bytes(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber, max_notification=1_500) as broker_fixture:
        subscription_id = await broker_fixture.subscribe(
            "a", release="r4", content="full-resource", max_count=100, timeout_s=60
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
    subscription_id = await broker_fixture.subscribe("before", timeout_s=60)
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
