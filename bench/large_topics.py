"""A topic with many filters and a value set with many codes, as files of a topics folder."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

from broker.fhir.search_parameters import SearchParameters
from broker.model.release import Release
from broker.model.search import ParameterType

URL = "http://bench.example/topics/many-filters"
ID = "many-filters"
VALUE_SET = "http://bench.example/ValueSet/many-codes"
SYSTEM = "http://bench.example/codes"
_TYPES = (
    *("Observation", "Encounter", "MedicationRequest", "Procedure", "Condition", "DiagnosticReport"),
    *("Patient", "Practitioner", "ServiceRequest", "Task", "Appointment", "Claim", "Coverage", "Composition"),
)
_OFFERED = {ParameterType.TOKEN, ParameterType.REFERENCE, ParameterType.DATE}


def write_large(folder: Path, *, filters: int, codes: int) -> None:
    """Writes both into the folder."""
    (folder / f"{ID}.json").write_text(json.dumps(_topic(filters)), encoding="utf-8")
    (folder / "valuesets" / "many-codes.json").write_text(json.dumps(_value_set(codes)), encoding="utf-8")


def _topic(filters: int) -> dict[str, Any]:
    table = SearchParameters()
    offered = [
        {"resource": each, "filterParameter": code} | ({"modifier": ["in"]} if code == "code" else {})
        for each in _TYPES
        for code in sorted(table.codes(Release.R4, each))
        if not code.startswith("_")
        and (parameter := table.find(Release.R4, each, code)) is not None
        and parameter.type in _OFFERED
    ]
    if len(offered) < filters:
        raise ValueError(f"the types offer {len(offered)} filters, not {filters}")
    return {
        "resourceType": "SubscriptionTopic",
        "id": ID,
        "url": URL,
        "version": "1",
        "status": "active",
        "resourceTrigger": [
            {"resource": each, "supportedInteraction": ["create", "update"]} for each in _TYPES
        ],
        "canFilterBy": list(islice(offered, filters)),
    }


def _value_set(codes: int) -> dict[str, Any]:
    concepts = [{"code": f"c{n}", "display": f"The concept that has the number {n}"} for n in range(codes)]
    return {
        "resourceType": "ValueSet",
        "url": VALUE_SET,
        "status": "active",
        "compose": {"include": [{"system": SYSTEM, "concept": concepts}]},
    }
