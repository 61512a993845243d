"""A broker that takes readings of two kinds of devices, by mappings in Python instead of files.

A payload is `{"device": …, "patient"?: …, "hr": …, "at"?: …, "seq"?: …, "ahead"?: …}`, or an object
with a list of those in `readings`; with `panel`, a panel that has them as members comes before them. `hr` is
bounded; "broken" makes the mapper itself fail.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx

from broker.mapping.reading import (
    DeviceIdentity,
    Identifier,
    IdentityPolicy,
    MappedReading,
    PatientIdentity,
    ReadingProblem,
)

DEVICES, PATIENTS = "urn:devices", "urn:patients"
JSON = {"Content-Type": "application/json"}
NOW = "2024-11-26T08:00:00+01:00"
_UCUM, _LOINC, _MDC = "http://unitsofmeasure.org", "http://loinc.org", "urn:iso:std:iso:11073:10101"
_CATEGORY = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    ]
}


class PayloadsOfTests:
    """A `PayloadMapper`. `known` are the names of readings that it knows; a test may add some."""

    def __init__(self) -> None:
        self.known = {"hr", "spo2"}
        self.patients: IdentityPolicy | None = None

    def map(self, payload: object, received: datetime) -> Sequence[MappedReading | ReadingProblem]:
        if isinstance(payload, Mapping) and isinstance(payload.get("readings"), list):
            found = [
                self._one({**payload, **each}, received, f"readings[{n}]")
                for n, each in enumerate(payload["readings"])
            ]
            return _with_panel(found) if "panel" in payload else found
        return [self._one(payload, received, "")]

    def _one(self, payload: Any, received: datetime, place: str) -> MappedReading | ReadingProblem:
        if not isinstance(payload, dict) or "device" not in payload:
            return ReadingProblem("not-supported", "no-mapping", "", "match", place, "No mapping matches.")
        if "broken" in payload:
            raise KeyError(payload["broken"])
        name = next((name for name in self.known if name in payload), None)
        if name is None:
            text = "No member of the payload is known. Add a mapping."
            return ReadingProblem("not-supported", "no-mapping", "test", "value", place, text, ("hr",))
        value = payload[name]
        if not isinstance(value, int | Decimal) or not 0 < value < 400:
            inner = f"{place}.{name}" if place else name
            text = "The value is impossible. Check the device."
            return ReadingProblem("value", "impossible-value", "test", "value", inner, text)
        at = payload.get("at", "")
        patient = payload.get("patient")
        code = {"hr": ("8867-4", "149530"), "spo2": ("2708-6", "150456")}.get(name, ("8310-5", "150364"))
        return MappedReading(
            mapping="test",
            device=DeviceIdentity(
                Identifier(DEVICES, payload["device"]), None, {"serialNumber": payload["device"]}
            ),
            patient=patient and PatientIdentity(Identifier(PATIENTS, patient), self.patients, {}),
            encounter=None,
            start=datetime.fromisoformat(at) if at else received,
            end=None,
            text_of_time=at,
            clock_offset_s=float(payload.get("ahead", 0)),
            correction=payload.get("correction", ""),
            discriminator=str(payload.get("seq", "")),
            resource={
                "category": [_CATEGORY],
                "code": {"coding": [{"system": _LOINC, "code": code[0]}, {"system": _MDC, "code": code[1]}]},
                "valueQuantity": {"value": value, "unit": "/min", "system": _UCUM, "code": "/min"},
            },
        )


def _with_panel(
    found: Sequence[MappedReading | ReadingProblem],
) -> Sequence[MappedReading | ReadingProblem]:
    members = [each._replace(name=f"r{n}") for n, each in enumerate(found) if isinstance(each, MappedReading)]
    resource = {"category": [_CATEGORY], "code": {"coding": [{"system": _LOINC, "code": "85353-1"}]}}
    names = tuple(each.name for each in members)
    return [members[0]._replace(name="panel", resource=resource, members=names), *members]


async def add_patient(client: httpx.AsyncClient, name: str, base: str = "r4") -> str:
    """A Patient with the identifier; `Patient/id`."""
    patient = {"resourceType": "Patient", "identifier": [{"system": PATIENTS, "value": name}]}
    response = await client.post(f"/{base}/Patient", json=patient)
    assert response.status_code == 201, response.text
    return f"Patient/{response.json()['id']}"


async def send(client: httpx.AsyncClient, *payloads: Any, **headers: str) -> httpx.Response:
    """Posts one payload as an object, several as an array."""
    content: Any = payloads[0] if len(payloads) == 1 else list(payloads)
    return await client.post("/readings", json=content, headers=JSON | headers)


async def stored(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    """The Observation of the answer to a single payload."""
    (row,) = response.json()["observations"]
    found: dict[str, Any] = (await client.get(f"/r4/{row['reference']}")).json()
    return found


async def dead_letters(client: httpx.AsyncClient, **where: str) -> list[dict[str, Any]]:
    """The dead letters that `$dead-letters` lists, each with its parts by name."""
    response = await client.get("/r4/$dead-letters", params=where)
    assert response.status_code == 200, response.text
    letters = []
    for parameter in response.json().get("parameter", []):
        if parameter["name"] == "dead-letter":
            letter: dict[str, Any] = {"field": []}
            for part in parameter["part"]:
                plain = next((value for name, value in part.items() if name.startswith("value")), None)
                if part["name"] == "field":
                    letter["field"].append({each["name"]: each.get("valueString") for each in part["part"]})
                else:
                    letter[part["name"]] = plain
            letters.append(letter)
    return letters
