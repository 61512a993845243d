"""`fhir-broker backup` and `restore`: what was acknowledged before a backup is there after its restore, and
no event number stands for two events.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from broker.app import Running
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.audit_client import AuditReader
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, until
from tests.integration.commands import run

ACCEPTED_BEFORE = 40
AFTER_A_ROLLBACK = 1_000_000


@contextlib.asynccontextmanager
async def client_of(broker: Running) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False, verify=NO_AUTHORITIES
    ) as client:
        yield client


class Producer:
    """Sends readings one after the other until it is stopped."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.accepted: list[str] = []
        self._client = client
        self._stopped = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        for n in itertools.count():
            reading = observation(HEART_RATE, f"p{n}", "2025-03-01T08:00:00Z", 72)
            response = await self._client.post("/r4/Observation", json=reading)
            assert response.status_code == 201, response.text
            self.accepted.append(response.json()["id"])
            if self._stopped.is_set():
                return

    async def until_accepted(self, count: int) -> None:
        async def has_count() -> bool:
            return self._task.done() or len(self.accepted) >= count

        await until(has_count)

    async def stop(self) -> None:
        self._stopped.set()
        await self._task


def pulled() -> dict[str, Any]:
    """A Subscription whose events wait to be fetched."""
    document = subscription("r5", VITAL_SIGNS, "")
    document["channelType"]["code"] = "websocket"
    del document["endpoint"]
    return document


async def command(*arguments: str, **settings: str) -> str:
    done = await asyncio.to_thread(run, *arguments, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def restored_broker(
    start_broker: StartBroker, folder: Path, key_ring: Path, backup: Path, *options: str
) -> contextlib.AbstractAsyncContextManager[Running]:
    said = await command("restore", *options, str(backup), data_dir=str(folder), key_ring=str(key_ring))
    assert said.startswith(f"Restored to {folder}: made 20"), said
    return start_broker(redis_url=None, data_dir=folder)


async def test_a_backup_under_load_has_every_change_that_was_acknowledged_before_it(
    tmp_path: Path, start_broker: StartBroker, subscriber: SimulatedSubscriber, key_ring: Path
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    async with start_broker(redis_url=None, data_dir=data) as broker, client_of(broker) as client:
        registered = await register_subscription(client, "/r5", pulled())
        await BrokerFixture(client, subscriber).until_status(registered["id"], "active")
        producer = Producer(client)
        await producer.until_accepted(ACCEPTED_BEFORE)
        before = list(producer.accepted)
        said = await command("backup", str(backup), data_dir=str(data), key_ring=str(key_ring))
        assert said.startswith(f"Backed up to {backup}: schema "), said
        await producer.until_accepted(len(producer.accepted) + 2)
        await producer.stop()
        await until(lambda: _is_audited(client, f"the data is backed up to {backup}"))

    checked = await command("restore", "--check", str(backup), key_ring=str(key_ring))
    assert checked.startswith("The backup can be restored: made 20")

    moved = await restored_broker(start_broker, tmp_path / "moved", key_ring, backup, "--nothing-newer")
    async with moved as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        for reading_id in before:
            assert (await client.get(f"/r4/Observation/{reading_id}")).status_code == 200
        # those that were not matched yet when the backup was made are matched now
        await until(lambda: _has_events(broker_fixture, registered["id"], ACCEPTED_BEFORE))
        numbers = await broker_fixture.events(registered["id"])
        assert numbers == list(range(1, len(numbers) + 1))
        await broker_fixture.send()
        await until(lambda: _has_events(broker_fixture, registered["id"], len(numbers) + 1))
        assert "error" not in await broker_fixture.status_of(registered["id"])
        assert len(numbers) >= ACCEPTED_BEFORE
        await until(lambda: _is_audited(client, "the data is restored from the backup of 20"))

    later = await restored_broker(start_broker, tmp_path / "later", key_ring, backup)
    async with later as broker, client_of(broker) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        await until(lambda: _has_events(broker_fixture, registered["id"], AFTER_A_ROLLBACK))
        [error] = (await broker_fixture.status_of(registered["id"]))["error"]
        assert "the store came back with older data" in error["text"]


async def _is_audited(client: httpx.AsyncClient, beginning: str) -> bool:
    # a page of all entries may have none but those of the readings that came after it
    events = await AuditReader(client).search("subtype=administer")
    return any(event.get("outcomeDesc", "").startswith(beginning) for event in events)


async def _has_events(broker_fixture: BrokerFixture, subscription_id: str, count: int) -> bool:
    return await broker_fixture.event_count(subscription_id) >= count
