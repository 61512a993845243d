"""Implausible times of readings, clocks that are known to be wrong, and what the settings change."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import StartBroker
from tests.integration.reading_fixture import DEVICES, PayloadsOfTests, add_patient, send, stored

_FLAGS = "http://fhir-broker.org/fhir/CodeSystem/reading-flags"


def reading(at: str, **members: Any) -> dict[str, Any]:
    return {"device": "d1", "patient": "ana", "hr": 72, "at": at} | members


def from_now(**parts: float) -> str:
    return (datetime.now(UTC) + timedelta(**parts)).isoformat()


def implausible_times() -> dict[str, str]:
    """Times by what is wrong with them, as of now: hours may have passed since this file was imported."""
    return {
        "future": from_now(hours=1),
        "clock-reset": "1970-01-01T00:00:10Z",
        "before-use": "2019-05-01T00:00:00Z",
    }


@pytest.mark.parametrize("policy", ["quarantine", "flag"])
async def test_implausible_times_are_quarantined_or_flagged(start_broker: StartBroker, policy: str) -> None:
    mapper = PayloadsOfTests()
    async with (
        start_broker(mapper=lambda: mapper, reading_clock=policy) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        await add_patient(client, "ana")
        made = {"resourceType": "Device", "identifier": [{"system": DEVICES, "value": "d1"}]}
        await client.post("/r4/Device", json=made | {"manufactureDate": "2020-01-01"})
        for doubt, at in implausible_times().items():
            response = await send(client, reading(at))
            if policy == "quarantine":
                assert response.status_code == 202
                (problem,) = response.json()["problems"]
                assert (problem["reason"], problem["field"]) == ("clock", "time")
                assert doubt in problem["text"]
            else:
                observation = await stored(client, response)
                tags = [tag["code"] for tag in observation["meta"]["tag"] if tag["system"] == _FLAGS]
                assert tags == ["implausible-time", doubt]
        assert (await send(client, reading(from_now(minutes=2)))).status_code == 201
        assert (await send(client, reading("2020-01-02T00:00:00Z"))).status_code == 201
        extreme = await send(client, reading("0001-01-01T00:00:00+10:00", seq=1))
        assert extreme.json()["status"] == "quarantined"


async def test_a_clock_that_is_known_to_be_ahead_is_corrected_and_its_time_kept(
    start_broker: StartBroker,
) -> None:
    mapper = PayloadsOfTests()
    async with (
        start_broker(mapper=lambda: mapper) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        await add_patient(client, "ana")
        response = await send(client, reading("2024-11-25T10:00:00+01:00", ahead=90))
        observation = await stored(client, response)
        assert observation["effectiveDateTime"] == "2024-11-25T09:58:30+01:00"
        (extension,) = observation["extension"]
        assert extension == {
            "url": "http://fhir-broker.org/fhir/StructureDefinition/device-time",
            "valueDateTime": "2024-11-25T10:00:00+01:00",
        }
        # the offset is known better now: still the same reading
        again = await send(client, reading("2024-11-25T10:00:00+01:00", ahead=91))
        assert again.json()["status"] == "duplicate"
