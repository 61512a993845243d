"""Retries end to end: what an endpoint answers, how long it takes, and what a subscriber gets in the end."""

from datetime import timedelta

from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, Gate, Script, broker_with, until


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
    async with broker_with(start_broker, subscriber, resume="newest") as broker_fixture:
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
    async with broker_with(start_broker, subscriber, retry_max=timedelta(seconds=5)) as broker_fixture:
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
    async with broker_with(start_broker, subscriber, retry_budget=timedelta(seconds=1)) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a", timeout_s=60)
        endpoint = subscriber.endpoint("a")
        endpoint.answer = Script(*[503] * 1_000)
        await broker_fixture.send()
        assert await subscriber.wait_until(lambda: len(endpoint.received) >= 2)
        retry = endpoint.answer = Gate(503)
        await retry.until_entered()
        assert await broker_fixture.status(subscription_id) == "active"
        assert await broker_fixture.error_code(subscription_id) == "error-response"
        retry.opened.set()
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
    assert (await broker_fixture.client.get(f"/r5/Subscription/{subscription_id}")).status_code == 410


async def test_the_maximum_timeout_applies_to_a_subscription_without_a_timeout(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(
        start_broker,
        subscriber,
        max_timeout=timedelta(seconds=1),
        handshake_grace=timedelta(seconds=WAIT_S),  # a handshake may take longer on a loaded machine
    ) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("a")
        gate = subscriber.endpoint("a").answer = Gate()
        await broker_fixture.send()

        async def has_failed() -> bool:
            return await broker_fixture.error_code(subscription_id) == "no-response"

        await until(has_failed)
        gate.opened.set()
        await broker_fixture.until_numbers("a", 1)


async def test_each_subscription_has_its_own_timeout(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(
        start_broker,
        subscriber,
        handshake_grace=timedelta(seconds=WAIT_S),  # a handshake may take longer on a loaded machine
    ) as broker_fixture:
        subscription_id = await broker_fixture.subscribe("short", timeout_s=1)
        await broker_fixture.subscribe("long", timeout_s=60)
        short, long = Gate(), Gate()
        broker_fixture.subscriber.endpoint("short").answer = short
        broker_fixture.subscriber.endpoint("long").answer = long
        await broker_fixture.send()

        async def has_failed() -> bool:
            return await broker_fixture.error_code(subscription_id) is not None

        await until(has_failed)
        assert await broker_fixture.error_code(subscription_id) == "no-response"
        await long.until_entered()
        assert long.inside == 1
        short.opened.set()
        long.opened.set()
        await broker_fixture.until_numbers("short", 1)
        await broker_fixture.until_numbers("long", 1)
