"""`fhir-broker erase` as an operator runs it: what goes, what stays, and what the disk still holds."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from broker.app import erasure
from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.settings import Settings
from broker.store import keys
from broker.store.audit_trail import AuditTrail
from broker.store.changes import Changes
from broker.store.embedded import url_of
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.audit_client import AuditReader, references, word
from tests.integration.broker_fixture import BrokerFixture, Script, until
from tests.integration.commands import Command, run
from tests.metrics import read_total
from tests.ports import free_port

AT = "2025-03-01T08:00:00Z"
ANA, BEN = "marker-of-ana-8f3e", "marker-of-ben-5d1c"
JSON = {"Content-Type": "application/fhir+json"}


def holding(folder: Path, text: str) -> list[str]:
    """The files below the folder that hold the text."""
    results = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the store has just replaced it
            if path.is_file() and text.encode() in path.read_bytes():
                results.append(path.name)
    return results


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[tuple[Command, str, str]]:
    port, data = free_port(), str(tmp_path / "data")
    with Command.of_broker(tmp_path, "serve", port=str(port), data_dir=data) as command:
        yield command, f"http://127.0.0.1:{port}", data


async def erase(data: str, *arguments: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(run, "erase", "--json", *arguments, data_dir=data)
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        return done.stderr
    return {row["kind"]: (row["number"], row["removed"]) for row in json.loads(done.stdout)}


async def put(client: httpx.AsyncClient, kind: str, resource_id: str, body: dict[str, Any]) -> None:
    response = await client.put(f"/r4/{kind}/{resource_id}", json=body | {"id": resource_id})
    assert response.is_success, response.text


async def send_data(client: httpx.AsyncClient) -> None:
    """Of ana, a Patient, a reading in two versions and a deleted one; of ben, a Patient and a reading."""
    for name, marker in (("ana", ANA), ("ben", BEN)):
        identifier = [{"system": "urn:x", "value": marker}]
        await put(client, "Patient", name, {"resourceType": "Patient", "identifier": identifier})
        reading = observation(HEART_RATE, name, AT, 70) | {"identifier": identifier}
        await put(client, "Observation", f"of-{name}", reading)
    again = observation(HEART_RATE, "ana", AT, 71) | {"identifier": [{"system": "urn:x", "value": ANA}]}
    await put(client, "Observation", "of-ana", again)
    await put(client, "Observation", "deleted", again)
    assert (await client.delete("/r4/Observation/deleted")).is_success
    group = {"resourceType": "List", "status": "current", "mode": "working"}
    await put(client, "List", "ward", group | {"entry": [{"item": {"reference": "Patient/ana"}}]})


async def refuse_inbox_entries(client: httpx.AsyncClient, data: str) -> None:
    async with redis.Redis.from_url(url_of(Path(data)), protocol=2) as store:
        for name, marker in (("ana", ANA), ("ben", BEN)):
            broken = {"resourceType": "Observation", "subject": {"reference": f"Patient/{name}"}, "x": marker}
            await store.xadd(keys.INBOX, {"resource": json.dumps(broken), "interaction": "nonsense"})

    await until_dead_letters(client, 2)


async def until_dead_letters(client: httpx.AsyncClient, count: int) -> None:
    async def are_there() -> bool:
        return await read_total(client, "broker_dead_letters") == count

    await until(are_there)


async def test_a_person_is_erased_and_nobody_else(
    serve: tuple[Command, str, str], subscriber: SimulatedSubscriber
) -> None:
    command, base, data = serve
    await command.until_ready(base)
    async with httpx.AsyncClient(base_url=base, headers=JSON, trust_env=False, timeout=30) as client:
        fixture = BrokerFixture(client, subscriber)
        subscription_id = await fixture.subscribe("a", content="full-resource")
        endpoint = subscriber.endpoint("a")
        endpoint.answer = Script(*[503] * 10_000)
        await send_data(client)
        await refuse_inbox_entries(client, data)
        assert any(name.endswith(".aof") for name in holding(Path(data), ANA))

        async def are_matched() -> bool:
            return await read_total(client, "broker_changes_matched_total") == 8

        await until(are_matched)
        numbers = await fixture.event_count(subscription_id)
        counted = await erase(data, "--patient", "Patient/ana")
        assert counted["versions of Patient"] == (1, False)
        assert counted["versions of Observation"] == (4, False)
        assert counted["dead letters (inbox)"] == (1, False)
        assert counted["resources about others that mention the person"] == (1, False)
        assert (await client.get("/r4/Observation/of-ana")).status_code == 200, "it only counted"

        erased = await erase(data, "--patient", "Patient/ana", "--yes")
        assert {kind: number for kind, (number, _) in erased.items()} == {
            kind: number for kind, (number, _) in counted.items()
        }
        assert erased["versions of Observation"] == (4, True)
        assert erased["resources about others that mention the person"] == (1, False)

        async def is_off_the_disk() -> bool:
            return holding(Path(data), ANA) == []

        await until(is_off_the_disk)
        assert holding(Path(data), BEN), "of others nothing was removed"
        for path in ("Patient/ana", "Observation/of-ana", "Observation/of-ana/_history/1"):
            assert (await client.get(f"/r4/{path}")).status_code in {404, 410}, path
        assert (await client.get("/r4/Observation/deleted")).status_code == 404
        assert (await client.get("/r4/Patient/ben")).status_code == 200
        assert (await client.get("/r4/Observation/of-ben")).status_code == 200
        await until_dead_letters(client, 1)

        assert endpoint.numbers == [], "all events still wait"
        endpoint.answer = Script()
        await fixture.until_numbers("a", numbers)
        sent = [each.body for each in endpoint.received if each.answered == 200]
        assert [body for body in sent if ANA.encode() in body] == []
        assert any(BEN.encode() in body for body in sent)
        assert any(b"Observation/of-ana/_history/1 is not included" in body for body in sent)
        assert await fixture.event_count(subscription_id) == numbers, "numbers stay"
        events = await AuditReader(client).export()
        (entry,) = [event for event in events if word(event) == "erase"]
        assert references(entry) == ["Patient/ana"]
        again = await erase(data, "--patient", "Patient/ana", "--yes")
        assert [kind for kind, (_, removed) in again.items() if removed] == []
    assert await command.stop() == 0
    assert holding(Path(data), ANA) == []


async def test_what_still_has_to_be_processed_is_not_erased(store: Store, settings: Settings) -> None:
    person = Proposal(DEFAULT_TENANT, "put", "Patient", "ana", Release.R4, b"}}")
    await Changes(store, keep_ms=60_000).append([person])
    assert settings.redis_url is not None
    with pytest.raises(ConfigurationError, match="1 changes about Patient/ana wait to be processed"):
        await erasure.erase(settings, settings.redis_url, DEFAULT_TENANT, "Patient/ana")
    assert await Resources(store).current(DEFAULT_TENANT, "Patient", "ana") is not None
    assert await AuditTrail(store).tenants() == [], "nothing was recorded, since nothing was done"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--patient", "Observation/ana"], "--patient is not Patient/ID"),
        (["--patient", "Patient/ana", "--tenant", "a:b"], "cannot be a tenant"),
    ],
)
async def test_what_cannot_be_a_person_is_refused(tmp_path: Path, arguments: list[str], text: str) -> None:
    assert text in await erase(str(tmp_path), *arguments, code=2)
