"""Poison messages within a stream, over several partitions and subscriptions: the rest arrives in order, and
a redrive delivers exactly the poison messages.
"""

import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT
from broker.store.protocol import Store
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.operations_client import value
from tests.integration.poisoning import SplitBroker, split_broker_of

NAMES = [f"n{n:02d}" for n in range(40)]
BROKEN = NAMES[7::11]
SUBSCRIBERS = ("a", "b", "c")


def received_names(endpoint: Endpoint) -> list[str]:
    """The resources of the events that an endpoint received, in order of arrival, repetitions included."""
    return [
        event.focus.rpartition("/")[2]
        for notification in endpoint.of_type("event-notification")
        for event in notification.events
    ]


def by_partition(names: list[str], store: Store) -> dict[int, list[str]]:
    partitions: dict[int, list[str]] = {}
    for name in names:
        partitions.setdefault(store.layout.partition_of(DEFAULT_TENANT, name), []).append(name)
    return partitions


async def until_received(split: SplitBroker, count: int) -> list[Endpoint]:
    endpoints = [split.broker_fixture.subscriber.endpoint(name) for name in SUBSCRIBERS]
    arrived = await split.broker_fixture.subscriber.wait_until(
        lambda: all(len(received_names(endpoint)) >= count for endpoint in endpoints)
    )
    assert arrived, [received_names(endpoint) for endpoint in endpoints]
    return endpoints


async def redrive(split: SplitBroker) -> None:
    """Repairs the broken resources and redrives all dead letters."""
    await split.poison.repair(*BROKEN)
    answer = (await split.poison.operate("redrive-dead-letters", all="true")).json()
    assert value(answer, "refused") == 0


async def test_changes_that_break_matching(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with split_broker_of(start_broker, store, subscriber) as split:
        ids = await split.subscribe(*SUBSCRIBERS, max_count=5)
        [elsewhere] = await split.subscribe("elsewhere", filters=("patient=Patient/nobody",))
        await split.break_changes(*NAMES, broken=BROKEN)
        sound = [name for name in NAMES if name not in BROKEN]
        async with split.running(Role.MATCH, Role.DISPATCH):
            for endpoint in await until_received(split, len(sound)):
                assert by_partition(received_names(endpoint), store) == by_partition(sound, store), "in order"
            letters = await split.poison.until_dead_letters(len(BROKEN))
            foci = {value(letter, "reference") for letter in letters}
            assert foci == {f"Observation/{name}/_history/1" for name in BROKEN}
            await split.poison.put("behind")
            await until_received(split, len(sound) + 1)
            await redrive(split)
            await split.poison.until_matched()
            for endpoint in await until_received(split, len(NAMES) + 1):
                assert sorted(received_names(endpoint)[-len(BROKEN) :]) == BROKEN, "exactly the broken ones"
                assert endpoint.numbers == list(range(1, len(NAMES) + 2))
                assert endpoint.duplicates == 0
            assert await split.poison.dead_letters() == []
            assert await split.broker_fixture.event_count(elsewhere) == 0
            assert {await split.broker_fixture.status(each) for each in ids} == {"active"}


@pytest.mark.parametrize("max_count", [1, 10])
async def test_resources_that_break_rendering(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber, max_count: int
) -> None:
    async with split_broker_of(start_broker, store, subscriber) as split:
        ids = await split.subscribe(*SUBSCRIBERS, max_count=max_count)
        [ids_only] = await split.subscribe("ids-only", content="id-only", max_count=10)
        await split.break_events(ids[0], *NAMES, broken=BROKEN)
        sound = [name for name in NAMES if name not in BROKEN]
        async with split.running(Role.MATCH, Role.DISPATCH):
            for endpoint in await until_received(split, len(sound)):
                assert received_names(endpoint) == sound, "in order"
            await split.poison.until_dead_letters(len(BROKEN) * len(SUBSCRIBERS))
            await split.broker_fixture.until_numbers("ids-only", len(NAMES))
            await split.poison.put("behind")
            await until_received(split, len(sound) + 1)
            await redrive(split)
            for endpoint in await until_received(split, len(NAMES) + 1):
                assert received_names(endpoint)[-len(BROKEN) :] == BROKEN, "exactly the broken ones, in order"
                numbers = [e.number for n in endpoint.of_type("event-notification") for e in n.events]
                assert numbers[-len(BROKEN) :] == [NAMES.index(name) + 1 for name in BROKEN], (
                    "their own numbers"
                )
            await split.poison.until_dead_letters(0)
            assert {await split.broker_fixture.status(each) for each in (*ids, ids_only)} == {"active"}
            assert "error" not in await split.broker_fixture.status_of(ids[0])
