"""Endpoints share a process; one origin that never answers takes no more than its share of it."""

import httpx
import pytest

from broker.delivery import engine
from broker.testing.subscriber import SimulatedSubscriber
from broker.workers import dispatcher
from tests.integration.desk import Desk, Gate

MANY = 8


async def test_an_origin_that_stalls_with_many_subscriptions_does_not_hold_up_another(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "IN_FLIGHT", 5)
    monkeypatch.setattr(engine, "PER_ORIGIN", 3)
    async with SimulatedSubscriber() as stalled:
        gate, stuck = Gate(), Desk(client, stalled)
        names = [f"s{n}" for n in range(MANY)]
        for name in names:
            await stuck.subscribe(name)
            stalled.endpoint(name).answer = gate
        desk = Desk(client, subscriber)
        await desk.subscribe("quick")
        await desk.send(5)
        await desk.until_numbers("quick", 5)
        assert 1 <= gate.most_inside <= 3
        gate.opened.set()
        for name in names:
            await stuck.until_numbers(name, 5)


async def test_what_was_put_off_is_no_failed_attempt(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PER_ORIGIN", 1)
    desk, gate = Desk(client, subscriber), Gate()
    await desk.subscribe("first")
    one = await desk.subscribe("second")
    subscriber.endpoint("first").answer = gate
    await desk.send()
    assert await subscriber.wait_until(lambda: gate.inside == 1)
    await desk.until_counted(one, 1)
    assert await desk.error_code(one) is None
    gate.opened.set()
    await desk.until_numbers("second", 1)
