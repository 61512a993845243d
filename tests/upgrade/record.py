"""Writes the data set of a release, which later releases upgrade in `test_upgrade.py`.

Before SCHEMA_VERSION is raised, in a checkout of what is released:

    python -m tests.upgrade.record /tmp/recorded
    export BROKER_DATA_DIR=/tmp/recorded/data BROKER_PARTITIONS=4 BROKER_SHARDS=4
    fhir-broker backup tests/upgrade/schema_N

Then move `expected.json` and `data/key-ring.json` of the first folder into the second. Everything in it is
made up. The endpoint is an address of this machine that nothing else uses, so that a test can listen there.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from broker.store.embedded import EmbeddedServer
from broker.store.file_rewrite import rewrite_file
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import Answer, SimulatedSubscriber

HOST, PORT = "127.77.7.7", 7707
"""Of the endpoints."""
TOPIC = "http://fhir-broker.org/topics/vital-signs"
SECRET = ("Authorization", "Bearer made-up")
DELIVERED, WAITING = 6, 3
SETTINGS = {
    "BROKER_PARTITIONS": "4",
    "BROKER_SHARDS": "4",
    "BROKER_EGRESS_ALLOW": "127.0.0.0/8",
    "BROKER_RETRY_BASE": "200ms",
    "BROKER_RETRY_MAX": "1s",
    "BROKER_HANDSHAKE_GRACE": "5s",
}
_DEADLINE_S = 60.0
_BASE = "http://127.0.0.1:8079"


async def _refuse(_body: bytes) -> Answer:
    return Answer(503)


@contextlib.asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The broker of this checkout."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    data = {"BROKER_DATA_DIR": str(folder / "data"), "BROKER_PORT": "8079", "BROKER_LOG_LEVEL": "warning"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "broker", "serve", env=own | SETTINGS | data
    )
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(base_url=_BASE, headers=headers, timeout=30, trust_env=False) as client:
        async with asyncio.timeout(_DEADLINE_S):
            while not await _is_ready(client):  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.1)
        yield client
        process.terminate()
        await process.wait()


async def _is_ready(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/readyz")).status_code == 200
    return False


async def _write(client: httpx.AsyncClient, method: str, path: str, document: Any = None) -> dict[str, Any]:
    response = await client.request(method, path, json=document)
    assert response.status_code in {200, 201, 204}, response.text
    return response.json() if response.content else {}


async def _send(client: httpx.AsyncClient, count: int) -> list[str]:
    """Readings of Patient/ana, by their ids."""
    readings = [observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 60 + n) for n in range(count)]
    return [(await _write(client, "POST", "/r4/Observation", reading))["id"] for reading in readings]


async def _until_counted(client: httpx.AsyncClient, subscription_id: str, count: int) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            bundle = await _write(client, "GET", f"/r5/Subscription/{subscription_id}/$status")
            status = bundle["entry"][0]["resource"]
            if status["status"] == "active" and int(status["eventsSinceSubscriptionStart"]) == count:
                return
            await asyncio.sleep(0.05)


async def record(folder: Path) -> dict[str, Any]:
    """Writes the data set to `folder/data`. What it has."""
    async with SimulatedSubscriber(HOST, PORT) as subscriber, _serving(folder) as client:
        await _write(client, "PUT", "/r4/Patient/ana", {"resourceType": "Patient", "id": "ana"})
        documents = {
            "r5": subscription("r5", TOPIC, subscriber.url("r5"), headers=[SECRET]),
            "r4": subscription("r4", TOPIC, subscriber.url("r4"), content="full-resource"),
        }
        ids = {}
        for release, document in documents.items():
            path = f"/{release}/Subscription/of-{release}"
            ids[release] = (await _write(client, "PUT", path, document | {"id": f"of-{release}"}))["id"]
            await _until_counted(client, ids[release], 0)
        delivered = await _send(client, DELIVERED)
        for release in ids:
            endpoint = subscriber.endpoint(release)
            assert await subscriber.wait_until(lambda each=endpoint: len(each.numbers) == DELIVERED)  # type: ignore[misc]
            endpoint.answer = _refuse
        waiting = await _send(client, WAITING)
        for subscription_id in ids.values():
            await _until_counted(client, subscription_id, DELIVERED + WAITING)
        for release in ids:
            endpoint = subscriber.endpoint(release)
            refused = len(endpoint.received)
            assert await subscriber.wait_until(lambda each=endpoint, n=refused: len(each.received) > n)  # type: ignore[misc]
        for name, text in (("one", "a"), ("one", "b"), ("two", "a")):
            document = {"resourceType": "Basic", "id": name, "code": {"text": text}}
            await _write(client, "PUT", f"/r4/Basic/{name}", document)
        await _write(client, "DELETE", "/r4/Basic/two")
    return {"subscriptions": ids, "delivered": delivered, "waiting": waiting}


def main(folder: Path) -> None:
    folder.mkdir()
    expected = asyncio.run(record(folder))
    server = EmbeddedServer(folder / "data")
    server.start()
    asyncio.run(rewrite_file(server.url))
    server.stop()
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
