"""MedTech templates for tests, imported and applied."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broker.mapping.compiling import compile_mapping
from broker.mapping.mapping_set import MappingSet
from broker.mapping.medtech.importing import ImportResult, Systems, import_templates
from broker.mapping.medtech.templates import read_templates
from broker.mapping.payloads import parse_payload
from broker.mapping.reading import MappedReading, ReadingProblem
from tests.unit.mapping.payloads import RECEIVED

SYSTEMS = Systems(
    "http://example.org/devices", "http://example.org/patients", "http://example.org/encounters"
)
SERVICE = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
LOINC = "http://loinc.org"
CODES = "http://example.org/c"
MDC = "urn:iso:std:iso:11073:10101"
AT = {"device": "d", "at": "2026-03-02T08:00:00Z"}


def content(type_name: str, kind: str = "JsonPathContent", **members: Any) -> dict[str, Any]:
    """A device content template; its value `v` is the member of the type's name."""
    template = {
        "typeName": type_name,
        "typeMatchExpression": f"$..[?(@{type_name})]",
        "deviceIdExpression": "$.device",
        "timestampExpression": "$.at",
        "values": [{"required": True, "valueExpression": f"$.{type_name}", "valueName": "v"}],
    }
    return {"templateType": kind, "template": template | members}


def fhir(type_name: str, value: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    value = value or {
        "valueType": "Quantity",
        "unit": "count/min",
        "system": "http://unitsofmeasure.org",
        "code": "/min",
    }
    template = {
        "typeName": type_name,
        "codes": [{"code": "1-8", "system": LOINC, "display": type_name}],
        "periodInterval": 0,
        "value": {"valueName": "v", **value},
    }
    return {"templateType": "CodeValueFhir", "template": template | members}


def imported(contents: Sequence[Any], fhirs: Sequence[Any]) -> ImportResult:
    files = {
        "content.json": json.dumps({"templateType": "CollectionContent", "template": contents}).encode(),
        "fhir.json": json.dumps({"templateType": "CollectionFhir", "template": fhirs}).encode(),
    }
    return import_templates(read_templates(files), "test", SYSTEMS, "mapping.schema.json")


def mapped(result: ImportResult, payload: Any) -> list[MappedReading | ReadingProblem]:
    mappings = MappingSet(tuple(compile_mapping(file, text) for file, text in result.files.items()))
    return list(mappings.map(parse_payload(json.dumps(payload).encode()), RECEIVED))


def readings(contents: Sequence[Any], fhirs: Sequence[Any], payload: Any) -> list[MappedReading]:
    result = imported(contents, fhirs)
    assert not result.left_out
    found = mapped(result, payload)
    assert all(isinstance(each, MappedReading) for each in found), found
    return [each for each in found if isinstance(each, MappedReading)]


def quantities(found: Sequence[MappedReading]) -> list[Any]:
    return [each.resource["valueQuantity"]["value"] for each in found]  # type: ignore[index]


def jmespath(text: str) -> dict[str, str]:
    return {"value": text, "language": "JmesPath"}
