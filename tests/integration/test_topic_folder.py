"""The folder of topics of a running broker: what a restart, SIGHUP and stored topics make of it."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.changing_topics import (
    URL,
    client_of,
    put,
    raise_flag,
    reason,
    refused,
    topic,
)
from tests.integration.commands import Command
from tests.ports import free_port
from tests.store_cluster import StoreCluster
from tests.stores import SharedStore, redis_of

STORES = ("embedded", "cluster")


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
        await broker.reload()
        assert (await client.get("/r5/SubscriptionTopic/flags")).json()["version"] == "1"
        write(tmp_path, topic("2", canFilterBy=None))
        await broker.reload()

        async def is_there() -> bool:
            served = (await client.get("/r5/SubscriptionTopic")).json()["entry"]
            results = {(item["resource"]["version"], item["resource"]["status"]) for item in served}
            return results == {("1", "retired"), ("2", "active")}

        await until(is_there)
        await raise_flag(broker_fixture)
        await broker_fixture.until_counted(old, 1)
        assert await broker_fixture.status(old) == "active"
        assert "retired" in await refused(broker_fixture, f"{URL}|1")


async def test_requests_are_answered_by_the_old_topics_until_the_folder_was_read(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    write(tmp_path, topic("1"))
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        flags = await broker_fixture.subscribe("flags", topic=URL)
        (tmp_path / "valuesets").mkdir()
        slow = tmp_path / "valuesets" / "slow.json"
        os.mkfifo(slow)
        write(tmp_path, topic("2"))
        await broker.reload()
        writer: list[int] = []

        async def is_reading() -> bool:
            with contextlib.suppress(OSError):  # ENXIO: nobody reads
                writer.append(os.open(slow, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writer)

        await until(is_reading)
        slow.unlink()  # the folder may be read once more, and nobody would write to that reader
        assert (await client.get("/r5/SubscriptionTopic/flags")).json()["version"] == "1"
        await raise_flag(broker_fixture)
        await broker_fixture.until_counted(flags, 1)
        os.write(
            writer[0],
            json.dumps({"resourceType": "ValueSet", "url": "http://v", "compose": {"include": []}}).encode(),
        )
        os.close(writer[0])

        async def is_read() -> bool:
            return bool((await client.get("/r5/SubscriptionTopic/flags")).json()["version"] == "2")

        await until(is_read)


async def test_a_topic_of_the_folder_takes_precedence_over_a_stored_one(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    async with start_broker(topics_dir=tmp_path) as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await put(broker_fixture, "flags", topic(title="stored"), 201)
        write(tmp_path, topic(title="folder"))
        await broker.reload()

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
        await command.until_output("ready ", times=2)
        write(folder, topic())
        os.kill(command.pid, signal.SIGHUP)
        async with httpx.AsyncClient(
            base_url=base, headers={"Connection": "close"}, timeout=60, trust_env=False
        ) as client:

            async def all_know() -> bool:
                answers = await asyncio.gather(
                    *(client.get("/r5/SubscriptionTopic/flags") for _ in range(12))
                )
                return all(answer.status_code == 200 for answer in answers)

            await until(all_know)
        assert await command.stop() == 0
