"""What is written to the EHR, and what is there then."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription
from tests.integration.fhir_write_fixture import write_subscription

TARGETS = """
[[target]]
name = "transactions"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device"]
creates = ["Device"]
identifier_system = "urn:transactions"

[[target]]
name = "singles"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device"]
identifier_system = "urn:singles"
max_entries = 1

[[target]]
name = "once"
preset = "create-only"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device"]
identifier_system = "urn:once"
"""
PATIENTS = ("ana", "ben", "cleo")
READINGS = 200
_WAIT_S = 120.0
_DEVICE = "serial-1"


class Checks:
    """Sends readings to the broker, and says of each check whether it holds."""

    def __init__(
        self, broker: httpx.AsyncClient, ehr: httpx.AsyncClient, say: Callable[[str], object]
    ) -> None:
        self._broker = broker
        self._ehr = ehr
        self._print = say
        self.failed = 0

    async def run(self) -> None:
        """Every check. They build on each other."""
        references = await self._known_people()
        ids = {"transactions": await self._subscribe("transactions")}
        await self._post(observation_of(0))
        is_created = await self._until(lambda: self._has("transactions", 1))
        self._say("the first reading is written, and its device created", is_created)
        ids |= {name: await self._subscribe(name) for name in ("singles", "once")}
        started = time.monotonic()
        sent = [await self._post(observation_of(n)) for n in range(READINGS)]
        for name, count in (("transactions", READINGS + 1), ("singles", READINGS), ("once", READINGS)):
            has_all = await self._until(lambda n=name, c=count: self._has(n, c))  # type: ignore[misc]
            self._say(f"{count} readings are there by {name}", has_all)
        self._print(f"        within {time.monotonic() - started:.1f} s")
        await self._references(references)
        await self._repeated(ids["transactions"])
        await self._updated(sent[0])
        await self._refused(ids["transactions"])

    async def _known_people(self) -> dict[str, str]:
        """The references at the EHR by the ids at the broker."""
        references = {}
        for name in PATIENTS:
            patient: dict[str, Any] = {"resourceType": "Patient"}
            patient["identifier"] = [{"system": "urn:mrn", "value": f"mrn-{name}"}]
            (await self._broker.put(f"/r4/Patient/{name}", json=patient | {"id": name})).raise_for_status()
            created = await self._ehr.post("/Patient", json=patient)
            created.raise_for_status()
            references[f"Patient/{name}"] = f"Patient/{created.json()['id']}"
        device: dict[str, Any] = {"resourceType": "Device", "id": "d1"}
        device["identifier"] = [{"system": "urn:sn", "value": _DEVICE}]
        (await self._broker.put("/r4/Device/d1", json=device)).raise_for_status()
        return references

    async def _subscribe(self, name: str) -> str:
        document = write_subscription(endpoint=f"fhir-write:{name}", max_count=50, timeout_s=30)
        subscription = str((await register_subscription(self._broker, "/r4", document))["id"])
        is_active = await self._until(lambda: self._status(subscription, "active"))
        self._say(f"the CapabilityStatement is enough for {name}", is_active)
        return subscription

    async def _post(self, reading: Mapping[str, Any]) -> str:
        response = await self._broker.post("/r4/Observation", json=reading)
        response.raise_for_status()
        return str(response.json()["id"])

    async def _references(self, references: Mapping[str, str]) -> None:
        devices = await self._search("Device", identifier=f"urn:sn|{_DEVICE}")
        self._say("the device was created once", len(devices) == 1)
        for name in PATIENTS:
            subject = references[f"Patient/{name}"]
            found = await self._search("Observation", patient=subject, _count="1000")
            self._say(
                f"all of {name} refer to {subject} and the device",
                len(found) > 0
                and all(each["device"]["reference"] == f"Device/{devices[0]['id']}" for each in found),
            )

    async def _repeated(self, subscription: str) -> None:
        body: dict[str, Any] = {"resourceType": "Parameters"}
        body["parameter"] = [{"name": "eventsSinceNumber", "valueString": "1"}]
        response = await self._broker.post(f"/r4/Subscription/{subscription}/$resend", json=body)
        response.raise_for_status()
        await self._post(observation_of(READINGS))  # it is sent after them
        is_same = await self._until(lambda: self._has("transactions", READINGS + 2))
        self._say("events that are sent again add nothing", is_same)

    async def _updated(self, resource_id: str) -> None:
        own = (await self._broker.get(f"/r4/Observation/{resource_id}")).json()
        own["valueQuantity"]["value"] = 199
        (await self._broker.put(f"/r4/Observation/{resource_id}", json=own)).raise_for_status()

        async def is_updated() -> bool:
            found = await self._search(
                "Observation", identifier=f"urn:transactions|Observation/{resource_id}"
            )
            return [each["valueQuantity"]["value"] for each in found] == [199]

        self._say("an update changes the resource that is there", await self._until(is_updated))

    async def _refused(self, subscription: str) -> None:
        """A reading of a patient that the EHR does not know."""
        stranger = {
            "resourceType": "Patient",
            "id": "dora",
            "identifier": [{"system": "urn:mrn", "value": "x"}],
        }
        (await self._broker.put("/r4/Patient/dora", json=stranger)).raise_for_status()
        reading = observation(HEART_RATE, "dora", "2025-03-01T08:00:00Z", 70)
        reading["device"] = {"reference": "Device/d1"}
        await self._post(reading)

        async def is_dead() -> bool:
            answer = await self._broker.get("/r4/$dead-letters", params={"subscription": subscription})
            return "the server has no Patient" in answer.text

        self._say("a reading of an unknown patient is a dead letter", await self._until(is_dead))

    async def _search(self, kind: str, **query: str) -> list[dict[str, Any]]:
        response = await self._ehr.get(f"/{kind}", params=query, headers={"Cache-Control": "no-cache"})
        response.raise_for_status()
        return [entry["resource"] for entry in response.json().get("entry", [])]

    async def _count(self, name: str) -> int:
        query = {"identifier": f"urn:{name}|", "_summary": "count"}
        response = await self._ehr.get("/Observation", params=query, headers={"Cache-Control": "no-cache"})
        response.raise_for_status()
        return int(response.json()["total"])

    async def _has(self, name: str, count: int) -> bool:
        return await self._count(name) == count

    async def _status(self, subscription: str, status: str) -> bool:
        return bool((await self._broker.get(f"/r4/Subscription/{subscription}")).json()["status"] == status)

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> bool:
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if await holds():
                return True
            await asyncio.sleep(0.5)
        return False

    def _say(self, what: str, holds: bool) -> None:
        self._print(f"{'ok    ' if holds else 'FAILED'}  {what}")
        self.failed += not holds


def observation_of(n: int) -> dict[str, Any]:
    """A reading of one of the patients, measured by the device."""
    reading = observation(HEART_RATE, PATIENTS[n % len(PATIENTS)], "2025-03-01T08:00:00Z", 50 + n % 100)
    reading["device"] = {"reference": "Device/d1"}
    return reading
