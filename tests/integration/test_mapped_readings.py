"""Payloads of the shipped mappings and of a folder of mappings, through `POST /readings`."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.mapping.examples import example, example_names
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.reading_fixture import stored

JSON = {"Content-Type": "application/json"}
FILE = """
name: strap
match: kind == 'strap'
device: {identifier: {system: 'http://example.org/devices', value: id}, policy: create}
patient: {identifier: {system: 'http://example.org/patients', value: patient}, policy: create}
time: {value: at}
observations:
  - {name: heart-rate, type: heart-rate, value: VALUE, unit: bpm}
"""


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> Any:
    (tmp_path / "strap.yaml").write_text(FILE.replace("VALUE", "hr"))
    async with start_broker(mappings_dir=tmp_path) as running:
        yield running


async def test_the_example_of_every_shipped_mapping_is_stored_as_observations(
    broker: Running, client: httpx.AsyncClient
) -> None:
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "http://example.org/patients", "value": "p-1"}],
    }
    subject = f"Patient/{(await client.post('/r4/Patient', json=patient)).json()['id']}"
    for name in example_names():
        response = await client.post("/readings", content=example(name), headers=JSON)
        assert response.status_code == 201, f"{name}: {response.text}"
        for row in response.json()["observations"]:
            observation = (await client.get(f"/r4/{row['reference']}")).json()
            assert observation["subject"]["reference"] == subject, name
            assert observation["device"]["reference"].startswith("Device/")


async def test_digits_of_the_device_are_in_the_stored_text(
    broker: Running, client: httpx.AsyncClient
) -> None:
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "http://example.org/patients", "value": "p-1"}],
    }
    await client.post("/r4/Patient", json=patient)
    response = await client.post("/readings", content=example("thermometer"), headers=JSON)
    rows = response.json()["observations"]
    texts = [(await client.get(f"/r4/{row['reference']}")).text for row in rows]
    assert ['"value":37.00,' in texts[0], '"value":37.10,' in texts[1]] == [True, True]


async def test_a_mapping_of_the_folder_is_used_and_reloaded_while_the_broker_runs(
    broker: Running, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    payload = {"kind": "strap", "id": "s-1", "patient": "p-2", "at": "2026-03-02T08:00:00Z", "bpm": 71}
    refused = await client.post("/readings", json=payload, headers=JSON)
    assert refused.json()["problems"][0]["reason"] == "missing-field"
    (tmp_path / "strap.yaml").write_text(FILE.replace("VALUE", "bpm"))

    async def is_taken() -> bool:
        return (await client.post("/readings", json=payload, headers=JSON)).status_code in {200, 201}

    await until(is_taken)
    observation = await stored(client, await client.post("/readings", json=payload, headers=JSON))
    assert observation["valueQuantity"]["value"] == 71
