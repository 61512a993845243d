"""An example of each of the profiles in `own_profiles`, which meets it."""

import copy
from typing import Any

from tests.unit.profiles.examples import Json, quantity
from tests.unit.profiles.own_profiles import FITTING, GATEWAY, MDC, OWN, RESULT


def _observation(name: str, **elements: Any) -> Json:
    return {
        "resourceType": "Observation",
        "meta": {"profile": [f"{OWN}{name}"]},
        "status": "final",
        "code": {"coding": [{"system": RESULT, "code": "reading"}]},
        **elements,
    }


def _lead(mdc: str) -> Json:
    data = {"origin": {"value": 0}, "period": 10, "lowerLimit": 0, "dimensions": 1, "data": "1 2 3"}
    return {"code": {"coding": [{"system": MDC, "code": mdc}]}, "valueSampledData": data}


def own_examples() -> dict[str, Json]:
    device, order = "http://example.org/device", "http://example.org/order"
    found = {
        "device-reading": _observation(
            "device-reading",
            extension=[{"url": GATEWAY, "valueReference": {"reference": "Device/gateway"}}],
            identifier=[{"system": "http://example.org/readings", "value": "7"}],
            code={"coding": [{"system": MDC, "code": "149530", "display": "pulse rate"}, {"code": "x"}]},
            subject={"reference": "Patient/ana"},
            effectiveDateTime="2026-03-01T08:00:00Z",
            device={"reference": "Device/oximeter"},
            valueQuantity=quantity("61", "bpm", "/min"),
        ),
        "summary-result": _observation(
            "summary-result",
            category=[
                {"coding": [{"system": RESULT, "code": "device"}]},
                {"coding": [{"system": RESULT, "code": "vitals"}]},
            ],
            subject={"reference": "Patient/ana"},
            performer=[{"reference": "Practitioner/lee"}],
            valueCodeableConcept={"coding": [{"system": RESULT, "code": "present"}]},
            interpretation=[{"text": "high"}],
            referenceRange=[{"low": quantity("50", "x", "/min"), "high": quantity("90", "x", "/min")}],
            component=[{"code": {"text": "peak"}, "valueQuantity": quantity("99", "x", "/min")}],
        ),
        "resliced": _observation(
            "resliced",
            identifier=[
                {"use": "official", "system": device, "value": "a"},
                {"use": "secondary", "system": device, "value": "b", "period": {"start": "2026-01-01"}},
                {"use": "temp", "system": device, "value": "c"},
                {"use": "usual", "system": order, "value": "d", "assigner": {"display": "ward"}},
                {"system": "http://example.org/other", "value": "e"},
            ],
        ),
        "leads": _observation(
            "leads",
            component=[_lead("131329"), _lead("131330"), _lead("131389")],
            method={"text": "twelve leads"},
        ),
        "ranges": _observation(
            "ranges",
            referenceRange=[
                {"text": "50 to 90"},
                {"text": "70 to 120", "appliesTo": [{"text": "children"}], "age": {"high": {"value": 12}}},
            ],
        ),
        "enrolled-patient": {
            "resourceType": "Patient",
            "meta": {"profile": [f"{OWN}enrolled-patient"]},
            "extension": [
                {
                    "url": FITTING,
                    "extension": [
                        {"url": "site", "valueCode": "wrist"},
                        {"url": "date", "valueDate": "2026-02-01"},
                    ],
                }
            ],
            "identifier": [
                {
                    "type": {"coding": [{"system": RESULT, "code": "MR"}]},
                    "system": "http://example.org/mrn",
                    "value": "123",
                }
            ],
            "name": [{"family": "Lopez", "given": ["Ana", "Maria"]}],
            "telecom": [{"system": "phone", "value": "555"}],
            "birthDate": "1970-01-01",
            "deceasedBoolean": False,
            "contact": [{"name": {"text": "Bea"}}],
        },
        "health-device": {
            "resourceType": "Device",
            "meta": {"profile": [f"{OWN}health-device"]},
            "identifier": [
                {"type": {"coding": [{"code": "SYSID"}]}, "system": "urn:oid:1.2.840.10004", "value": "FE-01"}
            ],
            "manufacturer": "Acme",
            "modelNumber": "A1",
            "type": {"coding": [{"system": MDC, "code": "65573"}]},
            "specialization": [{"systemType": {"coding": [{"system": MDC, "code": "528388"}]}}],
            "version": [{"type": {"coding": [{"code": "531976"}]}, "value": "1.2"}, {"value": "other"}],
        },
    }
    return copy.deepcopy(found)
