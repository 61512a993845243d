"""The high-water file is complete after a stop, so that a restore right after it is detected."""

from pathlib import Path

import httpx

from broker.store.high_water import HighWaterMarks
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"


async def test_a_stopped_matcher_has_written_what_it_numbered(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    file = tmp_path / "high-water.json"
    document = subscription("r5", VITAL_SIGNS, "")
    document["channelType"]["code"] = "websocket"
    del document["endpoint"]
    headers = {"Content-Type": "application/fhir+json"}
    async with (
        start_broker(high_water_file=file) as broker,
        httpx.AsyncClient(
            base_url=broker.settings.base_url, headers=headers, timeout=30, trust_env=False
        ) as client,
    ):
        created = (await client.post("/r5/Subscription", json=document)).json()

        async def has_events() -> bool:
            status = (await client.get(f"/r5/Subscription/{created['id']}/$status")).json()
            resource = status["entry"][0]["resource"]
            return int(resource["eventsSinceSubscriptionStart"]) == 20

        for n in range(20):
            reading = observation(HEART_RATE, f"p{n}", "2025-03-01T08:00:00Z", 72)
            assert (await client.post("/r4/Observation", json=reading)).status_code == 201
        await until(has_events)
    assert sum(HighWaterMarks.load(file).numbered.values()) == 20
