"""Handshakes end to end, and the status and version of a subscription that depend on them."""

from datetime import datetime, timedelta

from broker.store.protocol import Store
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import (
    WAIT_S,
    BrokerFixture,
    Gate,
    Script,
    broker_with,
    until,
    until_matched,
)
from tests.ports import free_port

GRACE = timedelta(seconds=WAIT_S)


async def test_a_subscription_is_active_only_after_its_handshake_was_answered(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    gate = Gate()
    broker_fixture.subscriber.endpoint("a").answer = gate
    document = broker_fixture.document("a", timeout_s=60)
    subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]
    await gate.until_entered()
    assert await broker_fixture.status(subscription_id) == "requested"
    await broker_fixture.send()
    # what still waited to be matched at the activation could be an event
    await until_matched(store)
    gate.opened.set()
    await broker_fixture.until_status(subscription_id, "active")
    await broker_fixture.send()
    endpoint = await broker_fixture.until_numbers("a", 1)
    assert [n.type for n in endpoint.notifications] == ["handshake", "event-notification"]


async def test_a_failed_handshake_sets_error_and_is_not_retried(broker_fixture: BrokerFixture) -> None:
    broker_fixture.subscriber.endpoint("a").answer = Script(500, 500)
    subscription_id = (
        await register_subscription(broker_fixture.client, "/r5", broker_fixture.document("a"))
    )["id"]
    await broker_fixture.until_status(subscription_id, "error")
    assert await broker_fixture.error_code(subscription_id) == "error-response"
    await broker_fixture.subscribe("other")
    assert len(broker_fixture.subscriber.endpoint("a").received) == 1


async def test_a_receiver_may_register_before_it_listens(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    async with broker_with(start_broker, subscriber, handshake_grace=GRACE) as broker_fixture:
        document = broker_fixture.document("a") | {"endpoint": f"http://127.0.0.1:{port}/late"}
        subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]

        async def has_failed() -> bool:
            return await broker_fixture.error_code(subscription_id) == "no-response"

        await until(has_failed)
        assert await broker_fixture.status(subscription_id) == "requested"
        async with SimulatedSubscriber(port=port) as late:
            await broker_fixture.until_status(subscription_id, "active")
            assert len(late.endpoint("late").of_type("handshake")) == 1
            assert await broker_fixture.error_code(subscription_id) is None


async def test_a_handshake_waits_for_a_receiver_behind_its_gateway(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber, handshake_grace=GRACE) as broker_fixture:
        broker_fixture.subscriber.endpoint("a").answer = Script(502, 503)
        await broker_fixture.subscribe("a")
    first, *others = [received.body for received in subscriber.endpoint("a").received]
    assert others == [first, first], "R-209: a retry sends the identical body"


async def test_after_the_grace_a_handshake_that_reached_nobody_sets_error(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(
        start_broker,
        subscriber,
        retry_base=timedelta(milliseconds=50),
        handshake_grace=timedelta(milliseconds=200),
    ) as broker_fixture:
        document = broker_fixture.document("a") | {"endpoint": f"http://127.0.0.1:{free_port()}/never"}
        subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]
        await broker_fixture.until_status(subscription_id, "error")
        assert await broker_fixture.error_code(subscription_id) == "no-response"


async def test_each_status_is_a_version_of_the_subscription(broker_fixture: BrokerFixture) -> None:
    gate, client = Gate(), broker_fixture.client
    broker_fixture.subscriber.endpoint("a").answer = gate
    registered = await register_subscription(client, "/r5", broker_fixture.document("a", timeout_s=60))
    url = f"/r5/Subscription/{registered['id']}"
    reads = [await client.get(url)]
    gate.opened.set()
    await broker_fixture.until_status(registered["id"], "active")
    reads.append(await client.get(url))
    broker_fixture.subscriber.endpoint("a").answer = Script(410)
    await broker_fixture.send()
    await broker_fixture.until_status(registered["id"], "off")
    reads.append(await client.get(url))

    metas = [read.json()["meta"] for read in reads]
    assert [meta["versionId"] for meta in metas] == ["1", "2", "3"]
    assert [read.headers["etag"] for read in reads] == ['W/"1"', 'W/"2"', 'W/"3"']
    moments = [datetime.fromisoformat(meta["lastUpdated"]) for meta in metas]
    assert moments[0] < moments[1] < moments[2]
    assert (await client.get(f"{url}/_history/3")).json()["status"] == "off"
    assert (await client.get(f"{url}/_history/2")).status_code == 404

    outdated = await client.put(url, json=reads[0].json(), headers={"If-Match": 'W/"1"'})
    assert outdated.status_code == 412
    current = await client.put(url, json=reads[0].json(), headers={"If-Match": 'W/"3"'})
    assert (current.status_code, current.headers["etag"]) == (200, 'W/"4"')
    await broker_fixture.until_status(registered["id"], "active")
    found = await client.get("/r5/Subscription", params={"_lastUpdated": f"gt{metas[2]['lastUpdated']}"})
    assert [entry["resource"]["id"] for entry in found.json()["entry"]] == [registered["id"]]


async def test_the_handshake_of_a_deleted_subscription_does_not_activate_a_new_one_with_its_id(
    broker_fixture: BrokerFixture,
) -> None:
    old, new = Gate(), Gate(status=500)
    broker_fixture.subscriber.endpoint("old").answer = old
    broker_fixture.subscriber.endpoint("new").answer = new
    url = "/r5/Subscription/namesake"
    document = broker_fixture.document("old", timeout_s=60) | {"id": "namesake"}
    assert (await broker_fixture.client.put(url, json=document)).status_code == 201
    await old.until_entered()
    assert (await broker_fixture.client.delete(url)).status_code == 204
    document["endpoint"] = broker_fixture.subscriber.url("new")
    assert (await broker_fixture.client.put(url, json=document)).status_code == 201
    await new.until_entered()
    old.opened.set()
    assert await broker_fixture.subscriber.wait_until(
        lambda: bool(broker_fixture.subscriber.endpoint("old").received)
    )
    new.opened.set()
    await broker_fixture.until_status("namesake", "error")
