"""Payloads of devices with markers, which become no Observations and are kept in quarantine."""

import httpx

from tests.integration.operations_client import question
from tests.integration.reading_fixture import JSON

_STRAP = {"system": "urn:x", "value": "strap"}


async def quarantine_readings(client: httpx.AsyncClient, marker: str) -> None:
    """Sends a payload of no mapping and one whose value is no number; the client is shown both."""
    reading = {"time": "2025-03-01T08:00:00Z", "heartRate": marker, "note": marker}
    payloads = (
        {"kind": "teapot", "heartRate": marker, marker: marker},
        {"kind": "heart-rate-monitor", "device": _STRAP, "patient": _STRAP, "readings": [reading]},
    )
    for payload in payloads:
        response = await client.post("/readings", json=payload, headers=JSON)
        assert response.status_code == 202, response.text
        assert marker not in response.text
    shown = await client.post("/r5/$dead-letters", json=question(kind="reading"))
    assert shown.text.count(marker) >= len(payloads)
