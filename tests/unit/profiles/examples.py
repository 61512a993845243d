"""Own examples: an Observation of every vital sign that conforms to its profiles, as producers send them."""

import copy
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.model.resource import Resource
from broker.profiles.vital_signs import HL7, US_CORE

Json = dict[str, Any]
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def quantity(value: str, unit: str, code: str) -> Json:
    return {"value": Decimal(value), "unit": unit, "system": _UCUM, "code": code}


def concept(*codes: str) -> Json:
    return {"coding": [{"system": _LOINC, "code": code} for code in codes]}


def observation(profile: str, code: Json, **elements: Any) -> Json:
    return {
        "resourceType": "Observation",
        "meta": {"profile": [profile]},
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": "vital-signs"}]}],
        "code": code,
        "subject": {"reference": "Patient/ana"},
        "effectiveDateTime": "2026-03-01T08:00:00+01:00",
        "performer": [{"reference": "Practitioner/lee"}],
        "device": {"reference": "Device/cuff"},
        **elements,
    }


def blood_pressure(
    profile: str, panel: str = "85354-9", codes: tuple[str, str] = ("8480-6", "8462-4")
) -> Json:
    systolic, diastolic = (
        {"code": concept(code), "valueQuantity": quantity(value, "mmHg", "mm[Hg]")}
        for code, value in zip(codes, ("120", "80"), strict=True)
    )
    return observation(profile, concept(panel), component=[systolic, diastolic])


_ROWS: Mapping[str, tuple[str, Json, Json]] = {
    "heartrate": ("us-core-heart-rate", concept("8867-4"), quantity("72", "beats/minute", "/min")),
    "resprate": ("us-core-respiratory-rate", concept("9279-1"), quantity("16", "breaths/minute", "/min")),
    "bodytemp": ("us-core-body-temperature", concept("8310-5"), quantity("36.8", "C", "Cel")),
    "bodyweight": ("us-core-body-weight", concept("29463-7"), quantity("70.50", "kg", "kg")),
    "bodyheight": ("us-core-body-height", concept("8302-2"), quantity("172", "cm", "cm")),
    "bmi": ("us-core-bmi", concept("39156-5"), quantity("23.8", "kg/m2", "kg/m2")),
    "headcircum": ("us-core-head-circumference", concept("9843-4"), quantity("34", "cm", "cm")),
    "oxygensat": ("us-core-pulse-oximetry", concept("2708-6", "59408-5"), quantity("97", "%", "%")),
}
FLOW = {"code": concept("3151-8"), "valueQuantity": quantity("2", "liters/min", "L/min")}


def examples() -> dict[str, Json]:
    """The name of the profile -> an Observation that meets it."""
    found: dict[str, Json] = {}
    for base, (us_core, code, value) in _ROWS.items():
        found[base] = observation(f"{HL7}{base}", code, valueQuantity=value)
        found[us_core] = observation(f"{US_CORE}{us_core}", code, valueQuantity=value)
    found["us-core-pulse-oximetry"]["component"] = [FLOW]
    found["bp"] = blood_pressure(f"{HL7}bp")
    found["us-core-blood-pressure"] = blood_pressure(f"{US_CORE}us-core-blood-pressure")
    found["us-core-average-blood-pressure"] = blood_pressure(
        f"{US_CORE}us-core-average-blood-pressure", "96607-7", ("96608-5", "96609-3")
    )
    members = [{"reference": "Observation/hr"}, {"reference": "Observation/temp"}]
    found["vitalspanel"] = observation(f"{HL7}vitalspanel", concept("85353-1"), hasMember=members)
    found["vitalsigns"] = observation(
        f"{HL7}vitalsigns", concept("40443-4"), valueQuantity=quantity("61", "beats/minute", "/min")
    )
    return copy.deepcopy(found)


def resource_of(fields: Mapping[str, Any]) -> Resource:
    """The resource as it arrives: decimals keep their digits."""
    return Resource(json.dumps(fields, default=_number).encode())


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)
