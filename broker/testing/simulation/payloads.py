"""What a simulated device sends: a payload that the shipped mappings take, or an R4 Observation."""

from collections.abc import Mapping

import orjson

from broker.testing.readings import (
    BLOOD_PRESSURE,
    GLUCOSE,
    HEART_RATE,
    RESPIRATORY_RATE,
    SPO2,
    TEMPERATURE,
    ReadingKind,
    observation,
)
from broker.testing.simulation.devices import Kind, Sample

DEVICES = "http://example.org/devices"
PATIENTS = "http://example.org/patients"
"""The systems of the identifiers."""
_DEVICE_KINDS: Mapping[Kind, str] = {
    Kind.HEART_RATE: "heart-rate-monitor",
    Kind.BLOOD_PRESSURE: "blood-pressure-monitor",
    Kind.SPO2: "pulse-oximeter",
    Kind.RESPIRATORY_RATE: "respiration-monitor",
    Kind.TEMPERATURE: "thermometer",
    Kind.GLUCOSE: "cgm",
}
_UNITS: Mapping[Kind, str] = {
    Kind.BLOOD_PRESSURE: "mmHg",
    Kind.TEMPERATURE: "C",
    Kind.GLUCOSE: "mg/dL",
}
_OBSERVATION_KINDS: Mapping[Kind, tuple[ReadingKind, str, str]] = {
    Kind.HEART_RATE: (HEART_RATE, "heartRate", ""),
    Kind.BLOOD_PRESSURE: (BLOOD_PRESSURE, "systolic", "diastolic"),
    Kind.SPO2: (SPO2, "spo2", ""),
    Kind.RESPIRATORY_RATE: (RESPIRATORY_RATE, "respiratoryRate", ""),
    Kind.TEMPERATURE: (TEMPERATURE, "temperature", ""),
    Kind.GLUCOSE: (GLUCOSE, "glucose", ""),
}


def payload_of(sample: Sample) -> bytes:
    """JSON as the example device of each shipped mapping sends it. It stands for one Observation."""
    device = sample.device
    unit = {"unit": _UNITS[device.kind]} if device.kind in _UNITS else {}
    # text, so that 37.0 keeps its digit
    values = {name: orjson.Fragment(str(value)) for name, value in sample.values.items()}
    return orjson.dumps(
        {
            "kind": _DEVICE_KINDS[device.kind],
            "device": {"system": DEVICES, "value": device.name, "model": "simulated"},
            "patient": {"system": PATIENTS, "value": device.person.name},
            "readings": [
                {"id": str(sample.number), "time": sample.at.isoformat(timespec="milliseconds")}
                | values
                | unit
            ],
        }
    )


def observation_of(sample: Sample) -> bytes:
    """The Observation that a gateway which speaks FHIR makes of it."""
    kind, first, second = _OBSERVATION_KINDS[sample.device.kind]
    values = [float(sample.values[name]) for name in (first, second) if name]
    at = sample.at.isoformat(timespec="milliseconds")
    return orjson.dumps(observation(kind, sample.device.person.name, at, *values))
