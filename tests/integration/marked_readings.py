"""Payloads of devices with markers, which become no Observations and are kept in quarantine."""

import httpx

from tests.integration.reading_fixture import JSON

_STRAP = {"system": "urn:x", "value": "strap"}


async def quarantine_readings(client: httpx.AsyncClient, marker: str) -> None:
    """Sends a payload of no mapping and one whose value is no number; the client is shown both."""
    reading = {"time": "2025-03-01T08:00:00Z", "heartRate": marker, "note": marker}
    for payload in (
        {"kind": "teapot", "heartRate": marker, marker: marker},
        {"kind": "heart-rate-monitor", "device": _STRAP, "patient": _STRAP, "readings": [reading]},
    ):
        response = await client.post("/readings", json=payload, headers=JSON)
        assert response.status_code == 202, response.text
        assert marker not in response.text
        shown = await client.get("/r4/$dead-letters", params={"id": response.json()["deadLetter"]})
        assert marker in shown.text
