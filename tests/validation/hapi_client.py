"""HAPI's generic client at the broker: it registers, searches, writes, and receives a notification."""

import asyncio

from tests.validation import java_project
from tests.validation.broker_process import EVERYTHING, running_broker


async def run_hapi_client() -> str:
    """What the client did, one line a step. Raises `JavaFailed` where it met something it did not expect."""
    async with running_broker() as broker:
        return await asyncio.to_thread(
            java_project.run,
            "org.fhirbroker.client.HapiClient",
            str(broker.client.base_url).rstrip("/"),
            EVERYTHING,
        )
