"""Poison in the middle of a stream, over several partitions and subscriptions: the rest arrives in order, a re-drive brings exactly those."""

import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT
from broker.store.protocol import Store
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.operations_client import value
from tests.integration.poisoning import Hub, hub_of

NAMES = [f"n{n:02d}" for n in range(40)]
BROKEN = NAMES[7::11]
SUBSCRIBERS = ("a", "b", "c")


def told(endpoint: Endpoint) -> list[str]:
    """The resources of the events an endpoint was told of, in the order of arrival, repetitions included."""
    return [
        event.focus.rpartition("/")[2]
        for notification in endpoint.of_type("event-notification")
        for event in notification.events
    ]


def by_partition(names: list[str], store: Store) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(store.layout.partition_of(DEFAULT_TENANT, name), []).append(name)
    return found


async def until_told(hub: Hub, count: int) -> list[Endpoint]:
    endpoints = [hub.broker_fixture.subscriber.endpoint(name) for name in SUBSCRIBERS]
    arrived = await hub.broker_fixture.subscriber.wait_until(
        lambda: all(len(told(endpoint)) >= count for endpoint in endpoints), 20
    )
    assert arrived, [told(endpoint) for endpoint in endpoints]
    return endpoints


async def retry(hub: Hub) -> None:
    """Mends what is broken and has everything done after all."""
    await hub.bench.mend(*BROKEN)
    answer = (await hub.bench.ask("redrive-dead-letters", all="true")).json()
    assert value(answer, "refused") == 0


async def test_changes_that_break_matching(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with hub_of(start_broker, store, subscriber) as hub:
        ids = await hub.subscribe(*SUBSCRIBERS, max_count=5)
        [elsewhere] = await hub.subscribe("elsewhere", filters=("patient=Patient/nobody",))
        await hub.break_changes(*NAMES, broken=BROKEN)
        sound = [name for name in NAMES if name not in BROKEN]
        async with hub.running(Role.MATCH, Role.DISPATCH):
            for endpoint in await until_told(hub, len(sound)):
                assert by_partition(told(endpoint), store) == by_partition(sound, store), "in order"
            letters = await hub.bench.until_letters(len(BROKEN))
            foci = {value(letter, "reference") for letter in letters}
            assert foci == {f"Observation/{name}/_history/1" for name in BROKEN}
            await hub.bench.put("behind")
            await until_told(hub, len(sound) + 1)
            await retry(hub)
            await hub.bench.until_matched()
            for endpoint in await until_told(hub, len(NAMES) + 1):
                assert sorted(told(endpoint)[-len(BROKEN) :]) == BROKEN, "exactly those"
                assert endpoint.numbers == list(range(1, len(NAMES) + 2))
                assert endpoint.duplicates == 0
            assert await hub.bench.letters() == []
            assert (await hub.broker_fixture.status_of(elsewhere))["eventsSinceSubscriptionStart"] == "0"
            assert {await hub.broker_fixture.status(one) for one in ids} == {"active"}


@pytest.mark.parametrize("max_count", [1, 10])
async def test_resources_that_break_rendering(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber, max_count: int
) -> None:
    async with hub_of(start_broker, store, subscriber) as hub:
        ids = await hub.subscribe(*SUBSCRIBERS, max_count=max_count)
        [light] = await hub.subscribe("light", content="id-only", max_count=10)
        await hub.break_events(ids[0], *NAMES, broken=BROKEN)
        sound = [name for name in NAMES if name not in BROKEN]
        async with hub.running(Role.MATCH, Role.DISPATCH):
            for endpoint in await until_told(hub, len(sound)):
                assert told(endpoint) == sound, "in order"
            await hub.bench.until_letters(len(BROKEN) * len(SUBSCRIBERS))
            await hub.broker_fixture.until_numbers("light", len(NAMES))
            await hub.bench.put("behind")
            await until_told(hub, len(sound) + 1)
            await retry(hub)
            for endpoint in await until_told(hub, len(NAMES) + 1):
                assert told(endpoint)[-len(BROKEN) :] == BROKEN, "exactly those, in their order"
                numbers = [e.number for n in endpoint.of_type("event-notification") for e in n.events]
                assert numbers[-len(BROKEN) :] == [NAMES.index(name) + 1 for name in BROKEN], (
                    "their own numbers"
                )
            await hub.bench.until_letters(0)
            assert {await hub.broker_fixture.status(one) for one in (*ids, light)} == {"active"}
            assert "error" not in await hub.broker_fixture.status_of(ids[0])
