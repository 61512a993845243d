"""An event whose notification can't be built becomes a dead letter after five attempts; the others are
delivered.
"""

from datetime import timedelta

import pytest

from broker.app import Running
from broker.delivery import policy
from broker.store.protocol import Store
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, until
from tests.integration.operations_client import value
from tests.integration.poisoning import PoisonMaker, poison_maker_of
from tests.integration.test_event_stream import read, registered

pytestmark = pytest.mark.usefixtures("long_leases")
HOUR = timedelta(hours=1)


def numbers(endpoint: Endpoint) -> list[list[int]]:
    return [
        [event.number for event in notification.events]
        for notification in endpoint.of_type("event-notification")
    ]


async def hold_events(
    broker_fixture: BrokerFixture, poison: PoisonMaker, subscription_id: str, *names: str
) -> Gate:
    """Events 2 and up of an endpoint wait behind the first, which is being sent alone."""
    gate = broker_fixture.subscriber.endpoint("a").answer = Gate()
    for n, name in enumerate(names, 1):
        await poison.put(name)
        # resources of different partitions have no order but this
        await broker_fixture.until_counted(subscription_id, n)
        await gate.until_entered()
    return gate


async def until_attempts(poison: PoisonMaker, subscription_id: str, count: int) -> None:
    """Until the notification that waits has failed this many times."""

    async def have_failed() -> bool:
        response = await poison.client.get(f"/r5/Subscription/{subscription_id}/$delivery")
        return bool(value(response.json(), "attempts") == count)

    await until(have_failed)


async def retry(poison: PoisonMaker, subscription_id: str) -> None:
    response = await poison.client.post(f"/r5/Subscription/{subscription_id}/$retry")
    assert value(response.json(), "retried") is True, response.text


@pytest.mark.parametrize(
    ("max_count", "sent"), [(10, [[1], [2, 3], [5]]), (1, [[1], [2], [3], [5]])], ids=["batched", "single"]
)
async def test_an_unrenderable_event_becomes_a_dead_letter_and_the_others_arrive_in_order(
    start_broker: StartBroker,
    store: Store,
    subscriber: SimulatedSubscriber,
    monkeypatch: pytest.MonkeyPatch,
    max_count: int,
    sent: list[list[int]],
) -> None:
    monkeypatch.setattr(policy, "BUILD_DELAY_MS", HOUR // timedelta(milliseconds=1))
    async with (
        start_broker(retry_base=HOUR, retry_max=HOUR, retry_budget=24 * HOUR) as broker,
        poison_maker_of(broker, store) as poison,
    ):
        broker_fixture = BrokerFixture(poison.client, subscriber)
        subscription_id = await broker_fixture.subscribe(
            "a", release="r4", content="full-resource", max_count=max_count, timeout_s=60
        )
        gate = await hold_events(broker_fixture, poison, subscription_id, *(f"n{n}" for n in range(1, 6)))
        await poison.damage("n4")
        gate.opened.set()
        endpoint = subscriber.endpoint("a")
        for attempt in range(1, policy.BUILD_ATTEMPTS):
            await until_attempts(poison, subscription_id, attempt)
            waiting = await broker_fixture.status_of(subscription_id)
            assert any("could not be built" in error["text"] for error in waiting["error"])
            assert waiting["status"] == "active", "while the build is retried"
            await retry(poison, subscription_id)
        assert await subscriber.wait_until(lambda: 5 in endpoint.numbers)
        assert numbers(endpoint) == sent
        await broker_fixture.until_delivered(subscription_id, 5)
        status = await broker_fixture.status_of(subscription_id)
        assert status["status"] == "active"
        assert "1 event could not be rendered" in str(status["error"])
        assert "garbage" not in str(status), "the status must not repeat content of the resource"
        [letter] = await poison.dead_letters()
        assert value(letter, "reason") == "the notification could not be built: ValueError"
        listed = await poison.client.get(
            f"/r5/Subscription/{subscription_id}/$events", params={"content": "id-only"}
        )
        (listing, *_) = listed.json()["entry"]
        numbers_listed = [int(event["eventNumber"]) for event in listing["resource"]["notificationEvent"]]
        assert numbers_listed == [1, 2, 3, 4, 5], (
            "`$events` lists it, so that the subscriber can read the resource"
        )


async def test_a_subscription_without_resource_content_receives_the_event(
    broker: Running, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with poison_maker_of(broker, store) as poison:
        broker_fixture = BrokerFixture(poison.client, subscriber)
        subscription_id = await broker_fixture.subscribe("a", release="r4", content="full-resource")
        await broker_fixture.subscribe("b", release="r4", content="id-only")
        gate = await hold_events(broker_fixture, poison, subscription_id, "n1", "n2", "n3")
        await poison.damage("n2")
        gate.opened.set()
        await broker_fixture.until_numbers("b", 3)
        assert await subscriber.wait_until(lambda: subscriber.endpoint("a").numbers == [1, 3])


async def test_who_reads_the_outbox_gets_the_event_without_the_resource_and_those_behind_it(
    broker: Running, store: Store
) -> None:
    async with poison_maker_of(broker, store) as poison:
        subscription_id = await registered(poison.client, content="full-resource")
        await poison.put("n1", "n2", "n3")
        await poison.until_matched()
        await poison.damage("n2")
        notifications, ids = await read(poison.client, subscription_id, 3, **{"Last-Event-ID": "0"})
        assert ids == ["1", "2", "3"]
        (_, *received) = notifications
        foci = [event.focus for each in received for event in each.events]
        assert ["Observation/n2" in focus for focus in foci].count(True) == 1
        for each, focus in zip(received, foci, strict=True):
            assert len(each.resources) == ("Observation/n2" not in focus)
        listed = await poison.client.get(
            f"/r5/Subscription/{subscription_id}/$events", params={"content": "full-resource"}
        )
        assert listed.status_code == 200, listed.text
        (status, *others) = listed.json()["entry"]
        assert len(status["resource"]["notificationEvent"]) == 3
        shown = [entry["resource"]["id"] for entry in others if "resource" in entry]
        assert sorted(shown) == ["n1", "n3"]
        assert "Observation/n2/_history/1 is not included: it can't be read." in listed.text
