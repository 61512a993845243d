"""The audit trail and the log of attempts after processes were killed: what was acknowledged is in it, and
every attempt is.
"""

import contextlib
from pathlib import Path

import httpx

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.faults.processes import BrokerProcess, started
from tests.integration.audit_client import AuditReader, references, word
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.operations_client import groups, value

_NOW = "2025-03-01T08:00:00Z"


def client_of(broker: BrokerProcess) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(base_url=broker.base, headers=headers, timeout=30, trust_env=False)


async def test_serve_killed_after_an_acknowledgement_keeps_the_entries(tmp_path: Path) -> None:
    broker = BrokerProcess("serve", tmp_path, data_dir=str(tmp_path / "data"))
    async with started(broker), client_of(broker) as client:
        accepted = []
        for n in range(20):
            reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": f"r{n}"}
            assert (await client.put(f"/r4/Observation/r{n}", json=reading)).status_code == 201
            assert (await client.get(f"/r4/Observation/r{n}")).status_code == 200
            accepted.append(f"Observation/r{n}/_history/1")
        broker.kill()
        await broker.start()
        trail = AuditReader(client)
        events = await trail.export()
        for act in ("create", "read"):
            assert [references(event)[0] for event in events if word(event) == act] == accepted
        result = await trail.verify()
        assert "problem" not in result
        assert result["complete"]


async def test_a_change_without_an_answer_is_in_the_store_with_its_entry(tmp_path: Path) -> None:
    broker = BrokerProcess("serve", tmp_path, data_dir=str(tmp_path / "data"))
    broker.spawn(failpoint="intake.after-append:kill@1")
    await broker.ready()
    async with client_of(broker) as client:
        reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": "r1"}
        with contextlib.suppress(httpx.TransportError):  # it is killed before it answers
            await client.put("/r4/Observation/r1", json=reading)
        assert await broker.until_ended(30)
    async with started(broker), client_of(broker) as client:
        assert (await client.get("/r4/Observation/r1")).status_code == 200
        creates = [event for event in await AuditReader(client).export() if word(event) == "create"]
        assert [references(event)[0] for event in creates] == ["Observation/r1/_history/1"]
    broker.kill()


async def test_an_attempt_of_a_killed_dispatcher_is_recorded_with_unknown_result(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    broker = BrokerProcess("serve", tmp_path, data_dir=str(tmp_path / "data"))
    async with started(broker), client_of(broker) as client:
        registered = await BrokerFixture(client, subscriber).subscribe("a")
    broker.kill()
    broker.spawn(failpoint="delivery.sent:kill@1")
    await broker.ready()
    async with client_of(broker) as client:
        reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": "r1"}
        await client.put("/r4/Observation/r1", json=reading)
        assert await broker.until_ended(30)
    async with started(broker), client_of(broker) as client:
        trail = AuditReader(client)

        async def is_delivered() -> bool:
            return "event-notification delivered" in str(await trail.search("_count=20"))

        await until(is_delivered)
        deliveries = [event for event in await trail.export() if word(event) == "deliver"]
        assert [(event["outcome"], event["outcomeDesc"]) for event in deliveries] == [
            ("0", "handshake delivered"),
            ("8", "event-notification with unknown result"),
            ("0", "event-notification delivered"),
        ]
        about = [f"Subscription/{registered}", "Observation/r1/_history/1", "Patient/ana"]
        assert references(deliveries[1]) == references(deliveries[2]) == about
        logged = (await client.get(f"/r4/Subscription/{registered}/$attempts")).json()
        assert [
            (value(each, "outcome"), value(each, "first-event")) for each in groups(logged, "attempt")
        ] == [("delivered", "1"), ("interrupted", "1"), ("delivered", None)]
        moments = [value(each, "time") for each in groups(logged, "attempt")]
        assert moments == sorted(moments, reverse=True), "the interrupted attempt has its own moment"
    broker.kill()
