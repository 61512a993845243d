"""Payloads of the shipped mappings and of a folder of mappings, through `POST /readings`."""

import json
from collections.abc import Mapping, Sequence
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
PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "http://example.org/patients", "value": "p-1"}],
}
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
    subject = f"Patient/{(await client.post('/r4/Patient', json=PATIENT)).json()['id']}"
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
    await client.post("/r4/Patient", json=PATIENT)
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


async def panel_and_figures(
    client: httpx.AsyncClient, rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one Observation with members, and the others by their references."""
    found = {row["reference"]: (await client.get(f"/r4/{row['reference']}")).json() for row in rows}
    (panel,) = [name for name, document in found.items() if "hasMember" in document]
    return found.pop(panel), found


def members_of(panel: Mapping[str, Any]) -> list[str]:
    return sorted(member["reference"] for member in panel["hasMember"])


async def test_a_cgm_summary_is_stored_as_a_panel_that_refers_to_its_figures(
    broker: Running, client: httpx.AsyncClient
) -> None:
    await client.post("/r4/Patient", json=PATIENT)
    response = await client.post("/readings", content=example("cgm-summary"), headers=JSON)
    assert response.status_code == 201, response.text
    rows = response.json()["observations"]
    panel, figures = await panel_and_figures(client, rows)
    assert panel["code"]["coding"][0]["code"] == "107931-8"
    assert members_of(panel) == sorted(figures)
    assert len(figures) == 11
    references = [row["reference"] for row in rows]
    expected = [member["reference"] for member in panel["hasMember"]]
    assert references[1:] == expected, "in the order of the mapping, which has the panel first"
    for figure in figures.values():
        assert figure["effectivePeriod"] == panel["effectivePeriod"]
        assert (figure["subject"], figure["device"]) == (panel["subject"], panel["device"])
    again = await client.post("/readings", content=example("cgm-summary"), headers=JSON)
    assert [row["status"] for row in again.json()["observations"]] == ["duplicate"] * 12
    assert {row["reference"] for row in again.json()["observations"]} == {row["reference"] for row in rows}


async def test_a_panel_is_stored_when_all_its_figures_are(broker: Running, client: httpx.AsyncClient) -> None:
    await client.post("/r4/Patient", json=PATIENT)
    payload = json.loads(example("cgm-summary"))
    wrong = payload | {"readings": [payload["readings"][0] | {"gmi": "high"}]}
    response = await client.post("/readings", json=wrong, headers=JSON)
    assert response.status_code == 202
    document = response.json()
    assert len(document["observations"]) == 10
    assert [(problem["field"], problem["reason"]) for problem in document["problems"]] == [
        ("observations[3].value", "malformed"),
        ("summary", "member-missing"),
    ]
    right = await client.post("/readings", json=payload, headers=JSON)
    rows = right.json()["observations"]
    assert [row["status"] for row in rows].count("accepted") == 2, "the figure that was wrong, and the panel"
    panel, figures = await panel_and_figures(client, rows)
    assert members_of(panel) == sorted(figures)
    assert len(figures) == 11
