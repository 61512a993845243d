"""Large requests are accepted and refused like small ones."""

from typing import Any

import httpx

from broker.model.json_text import LARGE_BYTES
from broker.testing.readings import HEART_RATE, observation

ENTRIES = 120


def large_reading(**members: Any) -> dict[str, Any]:
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)
    component = {"code": reading["code"], "valueQuantity": reading["valueQuantity"]}
    return reading | {"component": [component] * (LARGE_BYTES // 50)} | members


async def test_a_large_resource_is_stored_as_it_was_sent(client: httpx.AsyncClient) -> None:
    reading = large_reading()
    created = await client.post("/r4/Observation", json=reading)
    assert created.status_code == 201, created.text
    stored = (await client.get(f"/r4/Observation/{created.json()['id']}")).json()
    assert stored["component"] == reading["component"]


async def test_a_large_resource_with_an_error_is_refused_with_the_place(client: httpx.AsyncClient) -> None:
    refused = await client.post("/r4/Observation", json=large_reading(focus="Patient/ana"))
    assert refused.status_code == 422
    assert "Observation.focus" in refused.text


async def test_a_large_body_that_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.post("/r4/Observation", content=b"{" + b" " * LARGE_BYTES)
    assert refused.status_code == 400
    assert refused.json()["issue"][0]["code"] == "structure"


async def test_the_entries_of_a_large_bundle_are_answered_in_their_order(client: httpx.AsyncClient) -> None:
    entries: list[dict[str, Any]] = [
        {
            "resource": {"resourceType": "Patient", "id": f"p{n}"},
            "request": {"method": "PUT", "url": f"Patient/p{n}"},
        }
        for n in range(ENTRIES)
    ]
    for bundle_type in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": bundle_type, "entry": entries}
        answered = (await client.post("/r4", json=bundle)).json()["entry"]
        locations = [entry["response"]["location"].partition("/Patient/")[2] for entry in answered]
        assert [each.partition("/")[0] for each in locations] == [f"p{n}" for n in range(ENTRIES)]
