"""`$explain` of a stored change: its event number, how far its delivery is, and what the store was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx

from broker.app import Role, Running
from broker.model.change import Tenant
from broker.model.release import Release
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script, until
from tests.integration.explain_client import ANA_HEART_RATE, explain_change
from tests.integration.operations_client import groups, question, reading, value
from tests.matched import mark_matched, unmatched


async def test_the_stored_resource_is_the_previous_state(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    [made] = await broker_fixture.send(1)
    answer = await explain_change(broker_fixture.client, subscription_id, resource=reading(id=made))
    [change] = groups(answer, "change")
    assert (value(change, "interaction"), value(change, "previous")) == ("update", True)
    assert value(change, "focus") == f"Observation/{made}/_history/2"
    answer = await explain_change(
        broker_fixture.client, subscription_id, resource=reading(), previous=reading("ben")
    )
    assert value(groups(answer, "change")[0], "interaction") == "update"
    answer = await explain_change(
        broker_fixture.client, subscription_id, resource=reading(id=made), interaction="create"
    )
    assert value(groups(answer, "change")[0], "previous") is False


async def test_a_stored_change_has_its_event_number_and_delivery_state(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    first, second = await broker_fixture.send_in_order(subscription_id, 2)
    await broker_fixture.until_numbers("ward", 2)
    await until(lambda: delivered(broker_fixture.client, subscription_id, first))
    answer = await explain_change(
        broker_fixture.client, subscription_id, reference=f"Observation/{second}/_history/1"
    )
    [delivery] = groups(answer, "delivery")
    assert value(delivery, "event-number") == "2"
    assert value(delivery, "waiting-to-be-matched") is False
    absolute = await explain_change(
        broker_fixture.client,
        subscription_id,
        reference=f"{broker_fixture.client.base_url}/r4/Observation/{first}".replace("//r4", "/r4"),
    )
    assert value(groups(absolute, "delivery")[0], "event-number") == "1"


async def delivered(client: httpx.AsyncClient, subscription_id: str, reading_id: str) -> bool:
    answer = await explain_change(client, subscription_id, reference=f"Observation/{reading_id}")
    [delivery] = groups(answer, "delivery")
    return bool(value(delivery, "state") == "delivered")


async def test_a_failing_delivery_reports_attempts_error_and_next_attempt(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    slow = timedelta(minutes=5)
    async with (
        start_broker(retry_base=slow, retry_max=slow, retry_budget=timedelta(hours=1)) as running,
        client_of(running) as client,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        subscription_id = await broker_fixture.subscribe("ward")
        subscriber.endpoint("ward").answer = Script(*[503] * 50)
        [made] = await broker_fixture.send(1)

        async def failed() -> bool:
            answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
            results = groups(answer, "delivery")[0]
            return value(results, "next-attempt") is not None

        await until(failed)
        answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
        [delivery] = groups(answer, "delivery")
        assert value(delivery, "state") == "waiting"
        assert value(delivery, "attempts") == 1
        assert "503" in value(delivery, "error")
        assert "It is event 1, waiting to be delivered." in value(answer, "reason")


@contextlib.asynccontextmanager
async def client_of(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=running.settings.base_url, headers=headers, timeout=30, trust_env=False
    ) as client:
        yield client


async def test_a_change_that_no_matcher_has_read_is_waiting_to_be_matched(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker() as running, client_of(running) as client:
        subscription_id = await BrokerFixture(client, subscriber).subscribe("ward")
    async with start_broker(frozenset({Role.API})) as running, client_of(running) as client:
        [made] = await BrokerFixture(client, subscriber).send(1)
        answer = await explain_change(client, subscription_id, reference=f"Observation/{made}")
        [delivery] = groups(answer, "delivery")
        assert value(delivery, "waiting-to-be-matched") is True
        assert value(delivery, "numbered") is False
        assert value(answer, "verdict") is True
        assert "waiting to be matched" in value(answer, "reason")


async def test_a_change_from_before_the_filters_fit_got_no_number(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward", filters=ANA_HEART_RATE)
    [other] = await broker_fixture.send(1, patient="ben")
    await broker_fixture.send(1)
    await broker_fixture.until_counted(subscription_id, 1)

    async def matched() -> bool:
        results = await explain_change(
            broker_fixture.client, subscription_id, reference=f"Observation/{other}"
        )
        return value(groups(results, "delivery")[0], "waiting-to-be-matched") is False

    await until(matched)
    answer = await explain_change(broker_fixture.client, subscription_id, reference=f"Observation/{other}")
    assert value(groups(answer, "delivery")[0], "numbered") is False
    assert value(answer, "verdict") is False
    assert value(answer, "reason").endswith("It got no event number.")


async def test_explain_writes_nothing(broker_fixture: BrokerFixture) -> None:
    subscription_id = await broker_fixture.subscribe("ward")
    await asyncio.gather(
        *(
            explain_change(broker_fixture.client, subscription_id, resource=reading(id="imagined"))
            for _ in range(5)
        )
    )
    assert (await broker_fixture.client.get("/r4/Observation/imagined")).status_code == 404
    [made] = await broker_fixture.send(1)
    await broker_fixture.until_numbers("ward", 1)
    document = broker_fixture.document("ward")
    response = await broker_fixture.client.post(
        "/r5/Subscription/$dry-run", json=question(subscription=document)
    )
    assert [value(each, "reference") for each in groups(response.json(), "match")] == [
        f"Observation/{made}/_history/1"
    ]


async def test_the_newest_changes_are_a_tenants_own_in_the_order_of_the_log(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    change_log = ChangeLog(store)
    mine, other = Tenant("mine"), Tenant("other")
    for n in range(12):
        await changes.append(
            [Proposal(tenant, "put", "Basic", f"b{n}", Release.R4, b"}}") for tenant in (mine, other)]
        )
    results = [change async for change in change_log.newest(mine, 10)]
    assert len(results) == 10
    assert {change.current.key.tenant for change in results} == {mine}
    places = [tuple(int(part) for part in change.id.split("-")) for change in results]
    assert places == sorted(places, reverse=True)
    assert all(change.current.resource for change in results)
    assert all([await change_log.is_unmatched(change.current) for change in results])
    for partition in range(4):
        await mark_matched(store, await unmatched(store, partition))
    assert not any([await change_log.is_unmatched(change.current) for change in results])
