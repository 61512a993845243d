"""Pairs of an element in R4 and its equivalent in R5, without the required elements of the resource."""

from typing import Any

V4, V5 = (f"http://hl7.org/fhir/{v}/StructureDefinition/extension-" for v in ("4.0", "5.0"))
DATATYPE = "http://hl7.org/fhir/StructureDefinition/_datatype"
ALTERNATE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"
UNKNOWN = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    ]
}
IMP = {"code": "IMP"}


def extension(path: str, **value: object) -> dict[str, object]:
    return {"url": path, **value}


Case = tuple[str, dict[str, Any], dict[str, Any]]
"""A type, what a resource of it has, and what its conversion has."""

EXACT: list[Case] = [  # R4, R5
    ("Encounter", {"status": "onleave"}, {"status": "on-hold"}),
    ("Encounter", {"status": "finished"}, {"status": "completed"}),
    ("Encounter", {"class": IMP}, {"class": [{"coding": [IMP]}]}),
    ("Encounter", {"period": {"start": "2025"}}, {"actualPeriod": {"start": "2025"}}),
    ("Encounter", {"serviceType": {"text": "s"}}, {"serviceType": [{"concept": {"text": "s"}}]}),
    (
        "Encounter",
        {"participant": [{"individual": {"reference": "Practitioner/1"}}]},
        {"participant": [{"actor": {"reference": "Practitioner/1"}}]},
    ),
    (
        "Encounter",
        {"reasonCode": [{"text": "a"}], "reasonReference": [{"reference": "Condition/1"}]},
        {
            "reason": [
                {"value": [{"concept": {"text": "a"}}]},
                {"value": [{"reference": {"reference": "Condition/1"}}]},
            ]
        },
    ),
    (
        "Encounter",
        {"hospitalization": {"admitSource": {"text": "a"}, "dietPreference": [{"text": "d"}]}},
        {"admission": {"admitSource": {"text": "a"}}, "dietPreference": [{"text": "d"}]},
    ),
    (
        "Encounter",
        {"hospitalization": {"specialCourtesy": [{"text": "vip"}]}},
        {"specialCourtesy": [{"text": "vip"}]},
    ),
    (
        "Encounter",
        {"diagnosis": [{"condition": {"reference": "Condition/1"}, "use": {"text": "AD"}}]},
        {
            "diagnosis": [
                {"condition": [{"reference": {"reference": "Condition/1"}}], "use": [{"text": "AD"}]}
            ]
        },
    ),
    (
        "Encounter",
        {"location": [{"location": {"reference": "Location/1"}, "physicalType": {"text": "bed"}}]},
        {"location": [{"location": {"reference": "Location/1"}, "form": {"text": "bed"}}]},
    ),
    (
        "Device",
        {"deviceName": [{"name": "n", "type": "udi-label-name"}]},
        {"name": [{"value": "n", "type": "registered-name"}]},
    ),
    ("Device", {"type": {"text": "t"}}, {"type": [{"text": "t"}]}),
    (
        "Device",
        {"specialization": [{"systemType": {"text": "s"}, "version": "2"}]},
        {"conformsTo": [{"specification": {"text": "s"}, "version": "2"}]},
    ),
    ("Device", {"distinctIdentifier": "x"}, {"biologicalSourceEvent": {"value": "x"}}),
    (
        "Device",
        {"definition": {"reference": "DeviceDefinition/1"}},
        {"definition": {"reference": {"reference": "DeviceDefinition/1"}}},
    ),
    (
        "Device",
        {"property": [{"type": {"text": "t"}, "valueCode": [{"text": "v"}]}]},
        {"property": [{"type": {"text": "t"}, "valueCodeableConcept": {"text": "v"}}]},
    ),
    (
        "Device",
        {"udiCarrier": [{"carrierHRF": "x"}]},
        {"udiCarrier": [{"carrierHRF": "x", "_deviceIdentifier": UNKNOWN, "_issuer": UNKNOWN}]},
    ),
    (
        "DeviceMetric",
        {"measurementPeriod": {"repeat": {"frequency": 4, "period": 1, "periodUnit": "h"}}},
        {
            "measurementFrequency": {
                "value": 4,
                "unit": "/h",
                "system": "http://unitsofmeasure.org",
                "code": "/h",
            }
        },
    ),
    ("Patient", {"photo": [{"size": 7}]}, {"photo": [{"size": "7"}]}),
    (
        "Practitioner",
        {"communication": [{"text": "de"}]},
        {"communication": [{"language": {"text": "de"}}]},
    ),
    (
        "DiagnosticReport",
        {"imagingStudy": [{"reference": "ImagingStudy/1"}]},
        {"study": [{"reference": "ImagingStudy/1"}]},
    ),
    (
        "DiagnosticReport",
        {"media": [{"link": {"reference": "Media/1"}}]},
        {
            "media": [
                {"link": {"extension": [{"url": ALTERNATE, "valueReference": {"reference": "Media/1"}}]}}
            ]
        },
    ),
]
