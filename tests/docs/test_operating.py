"""docs/operating.md: its commands work for a Subscription that has had as many events as the page says."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.docs.page import Block, steps
from tests.docs.running import PageRunner
from tests.integration.broker_fixture import BrokerFixture

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
LAST_EVENT = 180


async def test_the_commands_of_the_page_work(subscriber: SimulatedSubscriber) -> None:
    async def prepare(base: str) -> Mapping[str, str]:
        """Delivers the events to `ward-3`. The id of the attempt on the page is that of its last one."""
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=60) as client:
            fixture = BrokerFixture(client, subscriber)
            document = fixture.document("ward-3", max_count=60, timeout_s=60) | {"id": "ward-3"}
            registered = await client.put("/r5/Subscription/ward-3", json=document)
            assert registered.status_code == 201, registered.text
            await fixture.until_status("ward-3", "active")
            entries = [
                {
                    "resource": observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 60 + n % 40),
                    "request": {"method": "POST", "url": "Observation"},
                }
                for n in range(LAST_EVENT)
            ]
            batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
            sent = await client.post("/r4", json=batch)
            assert sent.status_code == 200, sent.text
            await fixture.until_delivered("ward-3", LAST_EVENT)
            attempts = (await client.get("/r5/Subscription/ward-3/$attempts?count=1")).json()
        [attempt] = [part["part"] for part in attempts["parameter"] if part["name"] == "attempt"]
        [attempt_id] = [part["valueString"] for part in attempt if part["name"] == "id"]
        return {"1772352000123-0": attempt_id}

    endpoint = subscriber.url("").removeprefix("http://").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="docs") as folder:
        runner = PageRunner(Path(folder), endpoint, {}, names_broker=False)
        await runner.run(PAGE, prepare=prepare)


def test_each_block_is_run() -> None:
    assert {step.language for step in steps(PAGE) if isinstance(step, Block)} == {"sh"}
