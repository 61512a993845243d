"""Topics put, changed and deleted while the broker runs, and what then happens to their subscriptions
(R-480..R-482).
"""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Role, Running
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.commands import Command
from tests.ports import free_port
from tests.stores import SharedStore, StoreCluster, redis_of

STORES = ("embedded", "cluster")

URL = "http://example.org/topics/flags"
FILTER = {"resource": "Flag", "filterParameter": "patient"}


def topic(version: str = "1", topic_id: str | None = None, **changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "SubscriptionTopic",
        "url": URL,
        "version": version,
        "title": "Flags",
        "status": "active",
        "resourceTrigger": [{"resource": "Flag", "supportedInteraction": ["create"]}],
        "canFilterBy": [FILTER],
    }
    whole = made | ({"id": topic_id} if topic_id else {}) | changed
    return {name: value for name, value in whole.items() if value is not None}


def flag(patient: str = "ana") -> dict[str, Any]:
    return {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
    }


def basic(document: dict[str, Any], segment: str = "5.0") -> dict[str, Any]:
    """R4's form, written apart from the broker's own."""
    base = f"http://hl7.org/fhir/{segment}/StructureDefinition/extension-SubscriptionTopic."
    codes = {"supportedInteraction": "valueCode", "resource": "valueUri", "filterParameter": "valueString"}

    def parts(element: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"url": name, codes[name]: item}
            for name, value in element.items()
            for item in (value if isinstance(value, list) else [value])
        ]

    triggers = [
        {"url": f"{base}resourceTrigger", "extension": parts(item)} for item in document["resourceTrigger"]
    ]
    filters = [{"url": f"{base}canFilterBy", "extension": parts(item)} for item in document["canFilterBy"]]
    simple = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic."
    made = {
        "resourceType": "Basic",
        "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
        "modifierExtension": [{"url": f"{simple}status", "valueCode": document["status"]}],
        "extension": [
            {"url": f"{simple}url", "valueUri": document["url"]},
            {"url": f"{simple}version", "valueString": document["version"]},
            {"url": f"{simple}title", "valueString": document["title"]},
            *triggers,
            *filters,
        ],
    }
    return made | ({"id": document["id"]} if "id" in document else {})


async def put(
    broker_fixture: BrokerFixture, topic_id: str, document: dict[str, Any], status: int = 200
) -> httpx.Response:
    response = await broker_fixture.client.put(
        f"/r5/SubscriptionTopic/{topic_id}", json=document | {"id": topic_id}
    )
    assert response.status_code == status, response.text
    return response


async def raise_flag(broker_fixture: BrokerFixture, patient: str = "ana") -> None:
    response = await broker_fixture.client.post("/r4/Flag", json=flag(patient))
    assert response.status_code == 201, response.text


async def refused(broker_fixture: BrokerFixture, canonical: str) -> str:
    answer = await broker_fixture.client.post(
        "/r5/Subscription", json=broker_fixture.document("late", topic=canonical)
    )
    assert answer.status_code == 422, answer.text
    return str(answer.json()["issue"][0]["diagnostics"])


async def reason(broker_fixture: BrokerFixture, subscription_id: str) -> str:
    return str((await broker_fixture.status_of(subscription_id))["error"][0]["text"])


@pytest.mark.parametrize("release", ["r4b", "r5"])
async def test_a_topic_that_was_posted_is_served_at_once_until_it_is_deleted(
    broker_fixture: BrokerFixture, release: str
) -> None:
    created = await broker_fixture.client.post(f"/{release}/SubscriptionTopic", json=topic())
    assert created.status_code == 201, created.text
    topic_id = created.json()["id"]
    assert created.headers["Location"].endswith(f"/{release}/SubscriptionTopic/{topic_id}")
    assert (created.headers["ETag"], created.json()["meta"]["versionId"]) == ('W/"1"', "1")
    read = await broker_fixture.client.get(f"/r5/SubscriptionTopic/{topic_id}")
    assert read.json()["url"] == URL
    subscription = await broker_fixture.subscribe("one", topic=URL)
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(subscription, 1)
    path = f"/{release}/SubscriptionTopic/{topic_id}"
    assert (await broker_fixture.client.delete(path)).status_code == 409
    await broker_fixture.client.delete(f"/r5/Subscription/{subscription}")
    assert (await broker_fixture.client.delete(path)).status_code == 204
    assert (await broker_fixture.client.get(path)).status_code == 404
    assert "not known" in await refused(broker_fixture, URL)


@pytest.mark.parametrize("segment", ["5.0", "4.3"])
async def test_a_topic_is_a_basic_resource_at_the_r4_base(
    broker_fixture: BrokerFixture, segment: str
) -> None:
    document = basic(topic(topic_id="flags"), segment)
    put = await broker_fixture.client.put("/r4/Basic/flags", json=document)
    assert put.status_code == 201, put.text
    assert put.json()["resourceType"] == "Basic"
    native = (await broker_fixture.client.get("/r5/SubscriptionTopic/flags")).json()
    assert native["canFilterBy"] == [FILTER]
    assert native["resourceTrigger"] == topic()["resourceTrigger"]
    again = await broker_fixture.client.put("/r4/Basic/flags", json=put.json())
    assert (again.status_code, again.headers["ETag"]) == (200, 'W/"2"')
    assert (await broker_fixture.client.delete("/r4/Basic/flags")).status_code == 204
    other = {"resourceType": "Basic", "code": {"text": "a note"}}
    assert (await broker_fixture.client.post("/r4/Basic", json=other)).status_code == 201


async def test_an_invalid_topic_is_refused_and_nothing_changes(broker_fixture: BrokerFixture) -> None:
    bad = topic(resourceTrigger=[{"resource": "Flag", "queryCriteria": {"current": "colour=red"}}])
    answer = await broker_fixture.client.post("/r5/SubscriptionTopic", json=bad)
    assert answer.status_code == 422
    assert "colour" in answer.json()["issue"][0]["diagnostics"]
    unknown = basic(topic()) | {"extension": [{"url": "http://example.org/x", "valueCode": "y"}]}
    assert (await broker_fixture.client.post("/r4/Basic", json=unknown)).status_code == 422
    await put(broker_fixture, "flags", topic(), 201)
    stale = await broker_fixture.client.put(
        "/r5/SubscriptionTopic/flags", json=topic(topic_id="flags"), headers={"If-Match": 'W/"7"'}
    )
    assert stale.status_code == 412
    assert (
        await broker_fixture.client.put("/r5/SubscriptionTopic/other", json=topic(topic_id="flags"))
    ).status_code == 400
    taken = await broker_fixture.client.post("/r5/SubscriptionTopic", json=topic())
    assert taken.status_code == 409


async def test_topics_of_the_folder_are_not_changed_through_the_api(broker_fixture: BrokerFixture) -> None:
    shipped = (await broker_fixture.client.get("/r5/SubscriptionTopic/glucose")).json()
    for answer in (
        await broker_fixture.client.put("/r5/SubscriptionTopic/glucose", json=shipped | {"title": "mine"}),
        await broker_fixture.client.delete("/r5/SubscriptionTopic/glucose"),
        await broker_fixture.client.post("/r5/SubscriptionTopic", json=shipped),
    ):
        assert answer.status_code == 409, answer.text


async def test_a_version_replaced_in_place_sets_those_it_no_longer_allows_to_error(
    broker_fixture: BrokerFixture,
) -> None:
    await put(broker_fixture, "flags", topic(), 201)
    plain = await broker_fixture.subscribe("plain", topic=URL)
    filtered = await broker_fixture.subscribe("filtered", topic=URL, filters=["patient=Patient/ana"])
    every = [{"resource": "Flag", "supportedInteraction": ["create", "delete"]}]
    await put(broker_fixture, "flags", topic(resourceTrigger=every))
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(filtered, 1)
    await put(broker_fixture, "flags", topic(canFilterBy=None, resourceTrigger=every))
    await broker_fixture.until_status(filtered, "error")
    assert "patient" in await reason(broker_fixture, filtered)
    assert await broker_fixture.status(plain) == "active"
    made = (await broker_fixture.client.post("/r4/Flag", json=flag())).json()["id"]
    await broker_fixture.client.delete(f"/r4/Flag/{made}")
    await broker_fixture.until_counted(plain, 3)


@pytest.mark.parametrize("status", ["retired", "draft"])
async def test_a_topic_that_is_not_active_accepts_no_new_subscriptions_and_serves_the_others(
    broker_fixture: BrokerFixture, status: str
) -> None:
    await put(broker_fixture, "flags", topic(), 201)
    subscription_id = await broker_fixture.subscribe("one", topic=URL)
    await put(broker_fixture, "flags", topic(status=status))
    assert status in await refused(broker_fixture, f"{URL}|1")
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(subscription_id, 1)
    assert await broker_fixture.status(subscription_id) == "active"


async def test_subscriptions_stay_with_the_version_they_were_accepted_for(
    broker_fixture: BrokerFixture,
) -> None:
    await put(broker_fixture, "flags-1", topic("1"), 201)
    old = await broker_fixture.subscribe("old", topic=URL)
    deletions = [{"resource": "Flag", "supportedInteraction": ["delete"]}]
    changed = topic("2", resourceTrigger=deletions)
    answer = await put(broker_fixture, "flags-1", changed, 409)
    assert "id of its own" in answer.text
    await put(broker_fixture, "flags-2", changed, 201)
    new = await broker_fixture.subscribe("new", topic=URL)
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(old, 1)
    made = (await broker_fixture.client.post("/r4/Flag", json=flag())).json()["id"]
    await broker_fixture.client.delete(f"/r4/Flag/{made}")
    await broker_fixture.until_counted(new, 1)
    assert await broker_fixture.events(old) == [1, 2]


async def test_every_process_serves_a_new_topic(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        start_broker(frozenset({Role.MATCH, Role.DISPATCH})),
        start_broker(frozenset({Role.API})) as face,
        start_broker(frozenset({Role.API})) as other,
        client_of(face) as client,
        client_of(other) as elsewhere,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        await put(broker_fixture, "flags", topic(), 201)
        subscription_id = await broker_fixture.subscribe("one", topic=URL)
        await raise_flag(broker_fixture)
        await broker_fixture.until_numbers("one", 1)

        async def is_known() -> bool:
            return (await elsewhere.get("/r5/SubscriptionTopic/flags")).status_code == 200

        await until(is_known, 2)
        assert await broker_fixture.status(subscription_id) == "active"


def client_of(broker: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=broker.settings.base_url,
        headers={"Content-Type": "application/fhir+json"},
        timeout=10,
        trust_env=False,
    )


def write(folder: Path, document: dict[str, Any]) -> None:
    (folder / "flags.json").write_text(json.dumps(document | {"id": "flags"}))


async def test_topics_and_their_subscriptions_outlive_a_restart_but_not_the_loss_of_the_topic(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    write(tmp_path, topic())
    other = topic(url="http://example.org/topics/kept")
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await put(broker_fixture, "kept", other, 201)
        lost = await broker_fixture.subscribe("lost", topic=URL)
        kept = await broker_fixture.subscribe("kept", topic=other["url"])
    (tmp_path / "flags.json").unlink()
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await broker_fixture.until_status(lost, "error")
        assert f"{URL}|1" in await reason(broker_fixture, lost)
        await raise_flag(broker_fixture)
        await broker_fixture.until_counted(kept, 1)
        assert await broker_fixture.status(kept) == "active"


async def test_a_folder_read_again_serves_what_is_in_it_now(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    write(tmp_path, topic("1"))
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        old = await broker_fixture.subscribe("old", topic=URL)
        (tmp_path / "flags.json").write_text("{")
        await broker.reload_topics()
        assert (await client.get("/r5/SubscriptionTopic/flags")).json()["version"] == "1"
        write(tmp_path, topic("2", canFilterBy=None))
        await broker.reload_topics()

        async def is_there() -> bool:
            served = (await client.get("/r5/SubscriptionTopic")).json()["entry"]
            results = {(item["resource"]["version"], item["resource"]["status"]) for item in served}
            return results == {("1", "retired"), ("2", "active")}

        await until(is_there)
        await raise_flag(broker_fixture)
        await broker_fixture.until_counted(old, 1)
        assert await broker_fixture.status(old) == "active"
        assert "retired" in await refused(broker_fixture, f"{URL}|1")


async def test_a_topic_of_the_folder_takes_precedence_over_a_stored_one(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await put(broker_fixture, "flags", topic(title="stored"), 201)
        write(tmp_path, topic(title="folder"))
        await broker.reload_topics()

        async def is_folders() -> bool:
            return str((await client.get("/r5/SubscriptionTopic/flags")).json()["title"]) == "folder"

        await until(is_folders)
        assert (await client.delete("/r5/SubscriptionTopic/flags")).status_code == 409


async def test_a_folder_that_changed_while_the_connection_was_lost_is_read_again(
    start_broker: StartBroker, store: Store, shared_store: SharedStore, tmp_path: Path
) -> None:
    if isinstance(shared_store, StoreCluster):
        pytest.skip("the test cannot tell which node of a Cluster the broker listens to")
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        write(tmp_path, topic())  # without a notification
        await redis_of(store).client_kill_filter(_type="pubsub")

        async def is_there() -> bool:
            return (await client.get("/r5/SubscriptionTopic/flags")).status_code == 200

        await until(is_there)


async def test_sighup_reads_the_folder_again(tmp_path: Path) -> None:
    folder, port = tmp_path / "topics", free_port()
    folder.mkdir()
    settings = {"port": str(port), "data_dir": str(tmp_path / "data"), "topics_dir": str(folder)}
    command = Command.of_broker(tmp_path, "serve", "--workers", "2", **settings)
    base = f"http://127.0.0.1:{port}"
    with command:
        await command.until_ready(base)
        await command.until_output("ready", times=2)
        write(folder, topic())
        os.kill(command.pid, signal.SIGHUP)
        async with httpx.AsyncClient(
            base_url=base, headers={"Connection": "close"}, timeout=10, trust_env=False
        ) as client:

            async def all_know() -> bool:
                answers = await asyncio.gather(
                    *(client.get("/r5/SubscriptionTopic/flags") for _ in range(12))
                )
                return all(answer.status_code == 200 for answer in answers)

            await until(all_know)
        assert await command.stop() == 0
