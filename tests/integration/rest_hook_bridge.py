"""A subscriber as an integrator writes it with `broker.receiver`: it puts the resource of each event into an
EHR, after what the resource refers to, under the ids of the broker.

python -m tests.integration.rest_hook_bridge FOLDER BROKER_BASE EHR_BASE PORT
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from broker.receiver import CatchUp, Event, Ledger, NotificationMiddleware, Receiver

TIMEOUT_S = 60


class Bridge:
    """Writes events. An error makes the receiver answer 500, so that the broker sends the event again."""

    def __init__(self, broker: httpx.AsyncClient, ehr: httpx.AsyncClient) -> None:
        self._broker = broker
        self._ehr = ehr
        self._written: set[str] = set()

    async def write(self, event: Event) -> None:
        if event.resource is not None:
            others = {f"{other['resourceType']}/{other['id']}": other for other in event.others}
            await self._put(event.resource, others)

    async def _put(self, resource: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> None:
        for reference in references(resource):
            if reference not in self._written:
                target = others.get(reference)
                if target is None:
                    response = await self._broker.get(reference)
                    target = response.raise_for_status().json()
                await self._put(target, others)
        name = f"{resource['resourceType']}/{resource['id']}"
        (await self._ehr.put(name, json=resource)).raise_for_status()
        self._written.add(name)


def references(value: Any) -> Iterator[str]:
    """The references of a resource, as `Type/id`."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, Mapping):
        if isinstance(value.get("reference"), str):
            yield "/".join(value["reference"].split("/")[-2:])
        for part in value.values():
            yield from references(part)


def main(folder: str, broker: str, ehr: str, port: str) -> None:
    clients = [
        httpx.AsyncClient(
            base_url=base, timeout=TIMEOUT_S, trust_env=False, headers={"Accept": "application/json"}
        )
        for base in (broker, ehr)
    ]
    catch_up = CatchUp(broker, clients[0])
    ledger = Ledger(Path(folder) / "ledger.db")
    receiver = Receiver(Bridge(*clients).write, ledger, secrets=None, catch_up=catch_up)
    uvicorn.run(NotificationMiddleware(Starlette(), receiver), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
