"""A client that is disabled, removed or given fewer scopes gets nothing more, and nothing of that time later.
Its subscriptions go to `off` with the reason.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from broker.app import Role
from broker.store.protocol import Store
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import Gate, broker_with, until
from tests.integration.guarded_broker import (
    ALL_OBSERVATIONS,
    GuardedBroker,
    bodies,
    guarded,
    observation,
    patient,
    write_topic,
)
from tests.integration.operations_client import value
from tests.integration.poisoning import PoisonMaker

__all__ = ["guarded"]
Start = Callable[..., AbstractAsyncContextManager[GuardedBroker]]


@pytest.fixture
def start(start_broker: StartBroker, guarded: GuardedBroker, tmp_path: Path) -> Start:
    topics = write_topic(tmp_path / "topics")
    return lambda: guarded.started(start_broker, ALL_OBSERVATIONS, topics_dir=topics)


async def test_what_waited_or_happened_without_access_is_not_delivered_after_it_came_back(
    start: Start, store: Store
) -> None:
    async with start() as broker:
        gate = Gate()
        hook = await broker.subscribe("hook", timeout_s=60)
        pull = await broker.subscribe("pull", "websocket")
        streamed = asyncio.create_task(broker.stream(pull, last=99))
        broker.subscriber.endpoint("hook").answer = gate
        await broker.put(observation("sent"))
        await gate.until_entered()
        await broker.put(observation("waiting"))
        for each in (hook, pull):
            await broker.until_counted(each, 2)

        async def is_streamed() -> bool:
            report = await broker.lab.post(f"/r4/Subscription/{pull}/$delivery")
            return bool(value(report.json(), "delivered") == "2")

        await until(is_streamed)
        await broker.change_ward(ALL_OBSERVATIONS, disabled=True)
        for each in (hook, pull):
            await broker.until_status(each, "off")
            assert "'ward', which owns the subscription, is disabled" in await broker.errors(each)
        assert "Observation/waiting" in await streamed  # it ended with the access
        gate.opened.set()
        await broker.put(observation("unseen"))
        # what waits to be matched in the five seconds before an activation may be an event (decision 220)
        await PoisonMaker(broker.lab, store).until_matched()

        await broker.change_ward(ALL_OBSERVATIONS)
        for each in (hook, pull):
            document = (await broker.lab.get(f"/r4/Subscription/{each}")).json()
            response = await broker.lab.put(
                f"/r4/Subscription/{each}", json=document | {"status": "requested"}
            )
            assert response.status_code == 200, response.text
            await broker.until_status(each, "active")
        await broker.put(observation("again"))
        endpoint = await broker.until_number("hook", 3)
        assert endpoint.numbers in ([1, 3], [3])
        await broker.until_counted(pull, 3)
        events = [(await broker.ward.get(f"/r4/Subscription/{each}/$events")).text for each in (hook, pull)]
        assert "waiting" not in bodies(endpoint) + events[0]
        assert "unseen" not in bodies(endpoint) + "".join(events) + await broker.stream(pull, last=3)
        assert all("again" in each for each in events)


async def test_fewer_scopes_turn_off_what_they_do_not_cover_and_leave_out_what_is_included(
    start: Start,
) -> None:
    async with start() as broker:
        subscription_id = await broker.subscribe("hook")
        await broker.put(patient("p1"))
        await broker.change_ward("system/Observation.rs")
        await broker.put(observation("o1"))
        endpoint = await broker.until_number("hook", 1)
        assert '"resourceType":"Patient"' not in bodies(endpoint)
        assert (await broker.status_of(subscription_id))["status"] == "active"

        await broker.change_ward("system/Patient.rs")
        await broker.until_status(subscription_id, "off")
        assert "lacks system/Observation.r" in await broker.errors(subscription_id)


async def test_a_removed_client_gets_no_trial_and_no_heartbeat(start: Start) -> None:
    async with start() as broker:
        subscription_id = await broker.subscribe("hook", heartbeat_s=1)
        await broker.remove_ward()
        trial = await broker.lab.post(f"/r4/Subscription/{subscription_id}/$send-test")
        assert trial.status_code == 409, trial.text
        await broker.until_status(subscription_id, "off")
        assert "'ward', which owns the subscription, is not registered" in await broker.errors(
            subscription_id
        )


async def test_subscriptions_of_a_broker_without_access_control_are_turned_off(
    start_broker: StartBroker, guarded: GuardedBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    topics = write_topic(tmp_path / "topics")
    async with broker_with(start_broker, subscriber, topics_dir=topics) as opened:
        registered = await register_subscription(opened.client, "/r4", guarded.document("old"))
        await opened.until_status(registered["id"], "active")
    async with guarded.started(start_broker, ALL_OBSERVATIONS, topics_dir=topics) as broker:
        await broker.put(observation("o1"))
        await broker.until_status(registered["id"], "off")
        assert "registered without access control" in await broker.errors(registered["id"])
        assert "o1" not in bodies(subscriber.endpoint("old"))


async def test_a_process_that_only_delivers_stops_with_the_others(
    start_broker: StartBroker, guarded: GuardedBroker, tmp_path: Path
) -> None:
    topics = write_topic(tmp_path / "topics")
    shared: dict[str, Any] = {"topics_dir": topics, "clients_dir": guarded.clients_dir, "auth": "smart"}
    front = frozenset({Role.API, Role.MATCH})
    async with guarded.started(start_broker, ALL_OBSERVATIONS, topics_dir=topics, roles=front) as broker:
        shared["base_url"] = broker.smart.base_url
        async with start_broker(frozenset({Role.DISPATCH}), **shared):
            gate = Gate()
            subscription_id = await broker.subscribe("hook", timeout_s=60)
            broker.subscriber.endpoint("hook").answer = gate
            await broker.put(observation("o1"))
            await gate.until_entered()
            await broker.put(observation("o2"))
            await broker.change_ward(ALL_OBSERVATIONS, disabled=True)
            await broker.until_status(subscription_id, "off")
            gate.opened.set()
        assert "o2" not in bodies(broker.subscriber.endpoint("hook"))
