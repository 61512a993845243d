"""Messages that the MedTech service would take, through imported templates: one Observation for each group of
readings that the service would write one for, with what the templates define, in whatever order they come.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.mapping.medtech.importing import Systems, import_templates
from broker.mapping.medtech.templates import read_templates
from tests.conftest import StartBroker
from tests.integration.reading_fixture import send

LOINC = "http://loinc.org"
SERVICE = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
URL = "http://example.org/ids"


def content(type_name: str, match: str, *values: str, **members: Any) -> dict[str, Any]:
    """Each value is the member of its name, and may be absent."""
    template = {
        "typeName": type_name,
        "typeMatchExpression": f"$..[?({match})]",
        "deviceIdExpression": "$.device",
        "patientIdExpression": "$.who",
        "timestampExpression": "$.at",
        "values": [{"required": False, "valueExpression": f"$.{name}", "valueName": name} for name in values],
    }
    return {"templateType": "JsonPathContent", "template": template | members}


def fhir(type_name: str, interval: int, *components: str, **members: Any) -> dict[str, Any]:
    template = {
        "typeName": type_name,
        "periodInterval": interval,
        "codes": [{"code": "1-8", "system": LOINC, "display": type_name}],
        "category": [{"text": "Measured at home"}],
        "components": [
            {
                "codes": [{"code": f"code-{name}", "system": URL}],
                "value": {"valueType": "Quantity", "valueName": name, "unit": "mmHg"},
            }
            for name in components
        ],
    }
    return {"templateType": "CodeValueFhir", "template": template | members}


CONTENTS = [
    content("bp", "@sys", "sys"),
    content("bp", "@dia", "dia"),
    content("session", "@session", "low", "high", correlationIdExpression="$.session"),
    content("pulse", "@name =~ /^pulse[0-9]*$/i", "bpm"),
    content("weight", "@kg", "kg"),
]
FHIRS = [
    fhir("bp", 0, "sys", "dia"),
    fhir("session", -1, "low", "high"),
    fhir(
        "pulse",
        60,
        value={"valueType": "SampledData", "valueName": "bpm", "defaultPeriod": 60_000, "unit": "/min"},
    ),
    fhir("weight", 1440, value={"valueType": "Quantity", "valueName": "kg", "unit": "kg"}),
]


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> Any:
    files = {
        "content.json": json.dumps({"templateType": "CollectionContent", "template": CONTENTS}).encode(),
        "fhir.json": json.dumps({"templateType": "CollectionFhir", "template": FHIRS}).encode(),
    }
    result = import_templates(read_templates(files), "medtech", Systems(URL, URL, URL), "mapping.schema.json")
    assert not result.left_out
    for name, text in result.files.items():
        (tmp_path / name).write_text(text)
    async with start_broker(mappings_dir=tmp_path, reading_patients="create") as running:
        yield running


async def observations(client: httpx.AsyncClient, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that the messages became, in the order in which the first reading of each came."""
    references: dict[str, None] = {}
    for message in messages:
        response = await send(client, message)
        assert response.status_code in {200, 201}, response.text
        references |= dict.fromkeys(row["reference"] for row in response.json()["observations"])
    return [(await client.get(f"/r4/{reference}")).json() for reference in references]


def message(minute: int, device: str = "d", **members: Any) -> dict[str, Any]:
    return {"device": device, "who": "p", "at": f"2026-03-02T08:{minute:02}:00Z", **members}


def components(observation: dict[str, Any]) -> dict[str, Any]:
    """Their values by the names that the service gives them."""
    return {each["code"]["text"]: each["valueQuantity"]["value"] for each in observation["component"]}


async def test_components_of_one_time_are_one_observation(broker: Running, client: httpx.AsyncClient) -> None:
    systolic, diastolic, other = message(0, sys=120), message(0, dia=80), message(1, sys=121)
    for number, order in enumerate(itertools.permutations([systolic, diastolic, other])):
        found = await observations(client, *({**each, "device": f"d{number}"} for each in order))
        assert sorted((components(each) for each in found), key=len) == [
            {"sys": 121},
            {"sys": 120, "dia": 80},
        ]
        both = next(each for each in found if len(each["component"]) == 2)
        assert both["effectivePeriod"] == dict.fromkeys(("start", "end"), "2026-03-02T08:00:00Z")
        assert (both["status"], both["category"]) == ("amended", [{"text": "Measured at home"}])
        assert both["code"] == {
            "text": "bp",
            "coding": [
                {"system": LOINC, "code": "1-8", "display": "bp"},
                {"system": SERVICE, "code": "bp", "display": "bp"},
            ],
        }
        quantities = [each["valueQuantity"] for each in both["component"]]
        assert {each["unit"] for each in quantities} == {"mmHg"}


async def test_readings_with_one_correlation_id_are_one_observation_over_its_time(
    broker: Running, client: httpx.AsyncClient
) -> None:
    found = await observations(
        client,
        message(3, session="x", high=130),
        message(1, session="x", low=70),
        message(2, session="y", low=71),
    )
    assert [components(each) for each in found] == [{"high": 130, "low": 70}, {"low": 71}]
    assert found[0]["effectivePeriod"] == {"start": "2026-03-02T08:01:00Z", "end": "2026-03-02T08:03:00Z"}
    assert found[1]["status"] == "final"


async def test_the_samples_of_an_hour_are_one_observation(broker: Running, client: httpx.AsyncClient) -> None:
    sent = [message(minute, name=f"PULSE{minute}", bpm=60 + minute) for minute in (2, 0, 59)]
    (found,) = await observations(client, *sent)
    assert found["valueSampledData"] == {
        "origin": {"value": 0, "unit": "/min"},
        "period": 60_000,
        "dimensions": 1,
        "data": " ".join({0: "60", 2: "62", 59: "119"}.get(minute, "E") for minute in range(60)),
    }
    assert found["effectivePeriod"]["start"] == "2026-03-02T08:00:00Z"
    assert found["effectivePeriod"]["end"].startswith("2026-03-02T08:59:59.999999")
    response = await send(client, message(3, name="pulses", bpm=63))
    assert response.json()["status"] == "quarantined", "the regular expression does not match it"


async def test_the_value_of_a_day_is_the_one_measured_last(
    broker: Running, client: httpx.AsyncClient
) -> None:
    (found,) = await observations(client, message(5, kg=80.5), message(1, kg=81), message(9, kg=80.25))
    assert found["valueQuantity"] == {"value": 80.25, "unit": "kg"}
    assert found["effectivePeriod"]["start"] == "2026-03-02T00:00:00Z"
