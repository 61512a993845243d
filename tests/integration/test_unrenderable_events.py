"""An event whose notification can't be built: set aside after five tries, the rest delivered, the subscriber told."""

import pytest

from broker.app import Running
from broker.store.protocol import Store
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture, Gate, until
from tests.integration.poisoning import Bench, bench_of


def numbers(endpoint: Endpoint) -> list[list[int]]:
    return [[event.number for event in one.events] for one in endpoint.of_type("event-notification")]


async def held(broker_fixture: BrokerFixture, bench: Bench, one: str, *names: str) -> Gate:
    """Events 2 and up of an endpoint wait behind the first, which is being sent."""
    gate = broker_fixture.subscriber.endpoint("a").answer = Gate()
    for n, name in enumerate(names, 1):
        await bench.put(name)
        await broker_fixture.until_counted(one, n)  # resources of different partitions have no order but this
    await gate.until_entered()
    return gate


@pytest.mark.parametrize(
    ("max_count", "sent"), [(10, [[1], [2, 3], [5]]), (1, [[1], [2], [3], [5]])], ids=["batched", "single"]
)
async def test_the_broken_event_is_set_aside_and_the_others_arrive_in_order(
    broker: Running, store: Store, subscriber: SimulatedSubscriber, max_count: int, sent: list[list[int]]
) -> None:
    async with bench_of(broker, store) as bench:
        broker_fixture = BrokerFixture(bench.client, subscriber)
        one = await broker_fixture.subscribe("a", release="r4", content="full-resource", max_count=max_count)
        gate = await held(broker_fixture, bench, one, *(f"n{n}" for n in range(1, 6)))
        await bench.damage("n4")
        gate.opened.set()
        endpoint = subscriber.endpoint("a")
        if max_count > 1:

            async def is_told() -> bool:
                errors = (await broker_fixture.status_of(one)).get("error", [])
                return any("could not be built" in error["text"] for error in errors)

            await until(is_told)
            assert await broker_fixture.status(one) == "active", "while it is tried"
        assert await subscriber.wait_until(lambda: 5 in endpoint.numbers, 15)
        assert numbers(endpoint) == sent
        status = await broker_fixture.status_of(one)
        assert status["status"] == "active"
        assert "1 event could not be rendered" in str(status["error"])
        assert "garbage" not in str(status), "what the resource says is not told"
        listed = await bench.client.get(f"/r5/Subscription/{one}/$events", params={"content": "id-only"})
        (listing, *_) = listed.json()["entry"]
        told = [int(event["eventNumber"]) for event in listing["resource"]["notificationEvent"]]
        assert told == [1, 2, 3, 4, 5], "where it is, the subscriber can still read"


async def test_another_subscription_that_needs_no_resource_gets_the_event(
    broker: Running, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with bench_of(broker, store) as bench:
        broker_fixture = BrokerFixture(bench.client, subscriber)
        one = await broker_fixture.subscribe("a", release="r4", content="full-resource")
        await broker_fixture.subscribe("b", release="r4", content="id-only")
        gate = await held(broker_fixture, bench, one, "n1", "n2", "n3")
        await bench.damage("n2")
        gate.opened.set()
        await broker_fixture.until_numbers("b", 3)
        assert await subscriber.wait_until(lambda: subscriber.endpoint("a").numbers == [1, 3], 15)
