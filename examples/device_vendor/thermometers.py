"""The gateway of a device vendor: thermometers in, FHIR Observations out."""

from pathlib import Path
from typing import Self, TypedDict

from broker.client import Producer, resource


class Measurement(TypedDict):
    """What a thermometer sends. `serial` and `sequence` name a measurement for ever."""

    serial: str
    sequence: int
    patient: str
    celsius: float
    at: str


def observation(measurement: Measurement) -> dict[str, object]:
    """A body temperature by the R4 profile of vital signs."""
    category = {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "vital-signs",
    }
    return {
        "resourceType": "Observation",
        "id": f"{measurement['serial']}-{measurement['sequence']}",
        "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/bodytemp"]},
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5", "display": "Body temperature"}]},
        "subject": {"reference": f"Patient/{measurement['patient']}"},
        "effectiveDateTime": measurement["at"],
        "device": {"identifier": {"system": "urn:example:serial", "value": measurement["serial"]}},
        "valueQuantity": {
            "value": measurement["celsius"],
            "unit": "°C",
            "system": "http://unitsofmeasure.org",
            "code": "Cel",
        },
    }


class Gateway:
    """Sends measurements to the broker at `base`. `buffer` is a file for what waits."""

    def __init__(self, base: str, buffer: Path) -> None:
        self._producer = Producer(base, buffer=buffer)

    def __enter__(self) -> Self:
        self._producer.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._producer.close()

    def measure(self, measurement: Measurement) -> None:
        """Returns when the measurement is on disk; it is sent as soon as the broker answers."""
        self._producer.put(resource(observation(measurement)))

    def has_sent_all(self, timeout_s: float) -> bool:
        return self._producer.flush(timeout_s)
