"""A data set that an earlier release wrote is restored, migrated and served: nothing of it is lost, and each
event that waited is delivered once.

`record.py` wrote the data sets. Their retention is that of the test, so that their age does not matter.
"""

import functools
import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.store.migrations import SCHEMA_VERSION
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.audit_client import AuditReader
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.commands import run
from tests.upgrade.record import HOST, PORT, SECRET

FOLDER = Path(__file__).parent
AGE = timedelta(days=3_650)
DATA_SETS = sorted(FOLDER.glob("schema_*"), key=lambda path: int(path.name.removeprefix("schema_")))


def prepare(data_set: Path, data_dir: Path) -> None:
    """Restores the data set and migrates it, as docs/upgrading.md says."""
    data_dir.mkdir()
    shutil.copy(data_set / "key-ring.json", data_dir)
    restored = run("restore", "--nothing-newer", str(data_set), data_dir=str(data_dir))
    assert restored.returncode == 0, restored.stderr
    assert "Run `fhir-broker migrate` before you start the broker" in restored.stdout
    migrated = run("migrate", data_dir=str(data_dir))
    assert migrated.returncode == 0, migrated.stderr
    steps = SCHEMA_VERSION - int(data_set.name.removeprefix("schema_"))
    assert migrated.stdout.count("Migrated: ") == steps


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has every address of 127.0.0.0/8")
@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda path: path.name)
async def test_a_data_set_of_an_earlier_release_is_upgraded_and_every_event_delivered_once(
    data_set: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    expected = json.loads((data_set / "expected.json").read_text())
    data_dir = tmp_path / "data"
    prepare(data_set, data_dir)
    first = len(expected["delivered"]) + 1
    last = first + len(expected["waiting"])
    async with (
        SimulatedSubscriber(HOST, PORT) as subscriber,
        start_broker(
            redis_url=None, data_dir=data_dir, key_ring=None, retention=AGE, retry_budget=AGE
        ) as broker,
        client_of(broker) as client,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        sent = await broker_fixture.send()
        for release, subscription_id in expected["subscriptions"].items():
            endpoint = subscriber.endpoint(release)
            arrived = await subscriber.wait_until(functools.partial(has_number, endpoint, last), 60)
            assert arrived, endpoint.numbers
            assert endpoint.numbers == list(range(first, last + 1)), "each once, in order"
            assert endpoint.duplicates == 0
            await until(functools.partial(has_no_error, broker_fixture, subscription_id))
        assert SECRET in subscriber.endpoint("r5").received[-1].headers
        ids = [*expected["delivered"], *expected["waiting"], *sent]
        for reading_id in ids:
            assert (await client.get(f"/r4/Observation/{reading_id}")).json()["id"] == reading_id
        assert (await client.get("/r4/Basic/one")).json()["code"]["text"] == "b"
        assert (await client.get("/r4/Basic/one/_history/1")).json()["code"]["text"] == "a"
        assert (await client.get("/r4/Basic/two")).status_code == 410
        await until(lambda: finds(client, sorted(ids)))
        verified = await AuditReader(client).verify()
        assert "problem" not in verified
        assert verified["complete"]


def has_number(endpoint: Endpoint, number: int) -> bool:
    return number in endpoint.numbers


async def has_no_error(broker_fixture: BrokerFixture, subscription_id: str) -> bool:
    """The broker notes a delivery after the answer to it."""
    return "error" not in await broker_fixture.status_of(subscription_id)


def client_of(broker: Running) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(
        base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False, verify=NO_AUTHORITIES
    )


async def finds(client: httpx.AsyncClient, ids: list[str]) -> bool:
    """Whether a search, whose index is built after the migration, finds all of them."""
    response = await client.get("/r4/Observation?subject=Patient/ana&_count=50")
    if response.status_code == 503:
        return False
    assert response.status_code == 200, response.text
    bundle: dict[str, Any] = response.json()
    return sorted(entry["resource"]["id"] for entry in bundle.get("entry", ())) == ids


def test_there_is_a_data_set_of_the_release_before() -> None:
    assert DATA_SETS
    assert all((path / "expected.json").is_file() for path in DATA_SETS)
