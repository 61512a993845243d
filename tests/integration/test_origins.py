"""Endpoints share a process; one origin that never answers takes no more than its share of it."""

import httpx
import pytest

from broker.delivery import engine
from broker.testing.subscriber import SimulatedSubscriber
from broker.workers import dispatcher
from tests.integration.broker_fixture import BrokerFixture, Gate

MANY = 8


async def test_an_origin_that_stalls_with_many_subscriptions_does_not_hold_up_another(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "IN_FLIGHT", 5)
    monkeypatch.setattr(engine, "PER_ORIGIN", 3)
    async with SimulatedSubscriber() as stalled:
        gate, stuck = Gate(), BrokerFixture(client, stalled)
        names = [f"s{n}" for n in range(MANY)]
        for name in names:
            await stuck.subscribe(name)
            stalled.endpoint(name).answer = gate
        broker_fixture = BrokerFixture(client, subscriber)
        await broker_fixture.subscribe("quick")
        await broker_fixture.send(5)
        await broker_fixture.until_numbers("quick", 5)
        assert 1 <= gate.most_inside <= 3
        gate.opened.set()
        for name in names:
            await stuck.until_numbers(name, 5)


async def test_what_was_put_off_is_no_failed_attempt(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PER_ORIGIN", 1)
    broker_fixture, gate = BrokerFixture(client, subscriber), Gate()
    await broker_fixture.subscribe("first")
    one = await broker_fixture.subscribe("second")
    subscriber.endpoint("first").answer = gate
    await broker_fixture.send()
    assert await subscriber.wait_until(lambda: gate.inside == 1)
    await broker_fixture.until_counted(one, 1)
    assert await broker_fixture.error_code(one) is None
    gate.opened.set()
    await broker_fixture.until_numbers("second", 1)
