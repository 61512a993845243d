"""Observations as device gateways send them: vital signs by the R4 profiles, and glucose."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
_PROFILE = "http://hl7.org/fhir/StructureDefinition/"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


@dataclass(frozen=True, slots=True)
class ReadingKind:
    """A kind of reading: its codes, its unit, and the range of simulated values.

    `components` are code, text, lowest and highest value of each.
    """

    name: str
    codes: tuple[tuple[str, str], ...]
    unit: str
    code: str
    low: float
    high: float
    digits: int = 0
    profile: str | None = None
    category: str = "vital-signs"
    components: tuple[tuple[str, str, float, float], ...] = ()


HEART_RATE = ReadingKind(
    "heart rate", (("8867-4", "Heart rate"),), "beats/minute", "/min", 55, 130, 0, "heartrate"
)
BLOOD_PRESSURE = ReadingKind(
    "blood pressure",
    (("85354-9", "Blood pressure panel with all children optional"),),
    "mmHg",
    "mm[Hg]",
    0,
    0,
    0,
    "bp",
    components=(
        ("8480-6", "Systolic blood pressure", 95, 180),
        ("8462-4", "Diastolic blood pressure", 55, 110),
    ),
)
SPO2 = ReadingKind(
    "SpO2",
    (
        ("2708-6", "Oxygen saturation in Arterial blood"),
        ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
    ),
    "%",
    "%",
    86,
    100,
    0,
    "oxygensat",
)
TEMPERATURE = ReadingKind(
    "temperature", (("8310-5", "Body temperature"),), "°C", "Cel", 35.8, 40.2, 1, "bodytemp"
)
GLUCOSE = ReadingKind(
    "glucose",
    (("41653-7", "Glucose [Mass/volume] in Capillary blood by Glucometer"),),
    "mg/dL",
    "mg/dL",
    60,
    260,
    0,
    category="laboratory",
)
RESPIRATORY_RATE = ReadingKind(
    "respiratory rate", (("9279-1", "Respiratory rate"),), "breaths/minute", "/min", 10, 24, 0, "resprate"
)
KINDS = (HEART_RATE, BLOOD_PRESSURE, SPO2, TEMPERATURE, GLUCOSE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One simulated reading. `value` is the systolic pressure for a blood pressure."""

    kind: ReadingKind
    patient: str
    value: float
    resource: Mapping[str, Any]


def _quantity(kind: ReadingKind, value: float) -> dict[str, Any]:
    return {"value": value, "unit": kind.unit, "system": UCUM, "code": kind.code}


def _draw(source: random.Random, low: float, high: float, digits: int) -> float:
    value = source.uniform(low, high)
    return round(value, digits) if digits else round(value)


def observation(kind: ReadingKind, patient: str, at: str, value: float, other: float = 0) -> dict[str, Any]:
    """An R4 Observation (valid R4B and R5 too); `other` is the diastolic pressure."""
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": kind.category}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": text} for code, text in kind.codes]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": at,
        "device": {"reference": f"Device/{patient}-{kind.codes[0][0]}"},
    }
    if kind.profile:
        resource["meta"] = {"profile": [_PROFILE + kind.profile]}
    if not kind.components:
        return resource | {"valueQuantity": _quantity(kind, value)}
    values = (value, other)
    return resource | {
        "component": [
            {
                "code": {"coding": [{"system": LOINC, "code": code, "display": text}]},
                "valueQuantity": _quantity(kind, values[n]),
            }
            for n, (code, text, _, _) in enumerate(kind.components)
        ]
    }


def readings(patients: tuple[str, ...], seed: int, now: Iterator[str]) -> Iterator[Reading]:
    """Endless readings; the same seed gives the same values. `now` gives the time of each."""
    source = random.Random(seed)
    for at in now:
        kind, patient = source.choice(KINDS), source.choice(patients)
        if kind.components:
            value, other = (_draw(source, low, high, 0) for _, _, low, high in kind.components)
        else:
            value, other = _draw(source, kind.low, kind.high, kind.digits), 0
        yield Reading(kind, patient, value, observation(kind, patient, at, value, other))
