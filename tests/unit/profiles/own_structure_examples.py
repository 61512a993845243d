"""An example of each of the profiles in `own_structures`, which meets it."""

import copy
from typing import Any

from tests.unit.profiles.examples import Json, quantity
from tests.unit.profiles.own_profiles import OWN, RESULT
from tests.unit.profiles.own_structures import APPROVAL, SPELLING

_DEVICE = "http://example.org/device"


def _coding(code: str) -> Json:
    return {"coding": [{"system": RESULT, "code": code}]}


def _observation(name: str, **elements: Any) -> Json:
    return {
        "resourceType": "Observation",
        "meta": {"profile": [f"{OWN}{name}"]},
        "status": "final",
        "code": _coding("reading"),
        **elements,
    }


def _level(name: str, **elements: Any) -> Json:
    return _observation(
        name,
        identifier=[{"system": _DEVICE, "value": "b"}],
        category=[_coding("device")],
        subject={"reference": "Patient/ana"},
        valueQuantity=quantity("61", "bpm", "/min"),
        **elements,
    )


def _patient(name: str) -> Json:
    return {
        "resourceType": "Patient",
        "meta": {"profile": [f"{OWN}{name}"]},
        "name": [{"family": "Lopez", "given": ["Ana"]}],
        "telecom": [{"system": "phone", "value": "555"}],
        "gender": "female",
        "birthDate": "1970-01-01",
    }


def _levels() -> dict[str, Json]:
    identifiers = [
        {
            "use": "official",
            "system": _DEVICE,
            "value": "a",
            "period": {"start": "2026-01-01"},
        },
        {"use": "secondary", "system": _DEVICE, "value": "b"},
        {"system": "http://example.org/other", "value": "c"},
    ]
    three = _level("level-three", effectiveDateTime="2026-03-01T08:00:00Z")
    return {
        "level-two": _level("level-two"),
        "level-three": {**three, "identifier": identifiers},
    }


def _results() -> dict[str, Json]:
    device = {"resourceType": "Device", "id": "oximeter", "serialNumber": "A1", "lotNumber": "7"}
    level = {**_level("level-one"), "id": "level"}
    del level["meta"]
    answers = {"resourceType": "QuestionnaireResponse", "id": "answers", "status": "completed"}
    return {
        "typed-parts": _observation(
            "typed-parts",
            component=[
                {
                    "code": {"text": "peak"},
                    "valueQuantity": quantity("99", "x", "/min"),
                    "interpretation": [{"text": "high"}],
                },
                {"code": {"text": "rhythm"}, "valueCodeableConcept": {"text": "regular"}},
            ],
        ),
        "contained-device": _observation(
            "contained-device", contained=[device], device={"reference": "#oximeter"}
        ),
        "sorted-sources": _observation(
            "sorted-sources",
            contained=[level, answers],
            derivedFrom=[{"reference": "#level"}, {"reference": "#answers"}],
        ),
        "bounded-result": _observation(
            "bounded-result",
            bodySite={"coding": [{"system": RESULT, "code": "peak"}]},
            referenceRange=[{"low": quantity("50", "x", "/min")}],
            component=[
                {
                    "code": {"text": "peak"},
                    "valueQuantity": quantity("99", "x", "/min"),
                    "referenceRange": [{"low": quantity("50", "x", "/min")}],
                }
            ],
        ),
    }


def _document() -> Json:
    base = "http://example.org/fhir"
    level = _level("level-one")
    head = {
        "resourceType": "Composition",
        "meta": {"profile": [f"{OWN}report-head"]},
        "status": "final",
        "type": {"text": "report"},
        "date": "2026-03-01T08:00:00Z",
        "author": [{"reference": "Patient/ana"}],
        "title": "Readings",
        "section": [
            {
                "title": "Readings",
                "code": _coding("reading"),
                "entry": [{"reference": "Observation/level"}],
            }
        ],
    }
    resources = [
        ("Composition/head", head),
        ("Patient/ana", _patient("reachable-patient")),
        ("Observation/level", level),
    ]
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [f"{OWN}report-document"]},
        "identifier": {"system": "http://example.org/documents", "value": "1"},
        "type": "document",
        "timestamp": "2026-03-01T08:00:00Z",
        "entry": [
            {
                "fullUrl": f"{base}/{url}",
                "resource": {
                    "resourceType": resource["resourceType"],
                    "id": url.partition("/")[2],
                    **resource,
                },
            }
            for url, resource in resources
        ],
    }


def structure_examples() -> dict[str, Json]:
    spelled = _patient("spelled-patient")
    spelled["name"][0]["_family"] = {"extension": [{"url": SPELLING, "valueString": "LOH-pes"}]}
    spelled["extension"] = [{"url": APPROVAL, "valueBoolean": True}]
    found = {
        **_levels(),
        **_results(),
        "spelled-patient": spelled,
        "report-document": _document(),
    }
    return copy.deepcopy(found)
