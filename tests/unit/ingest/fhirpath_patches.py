"""Builds FHIRPath Patches for tests."""

import json
from typing import Any

from broker.model.resource import Resource

Operation = dict[str, Any]


def operation(kind: str, path: str, *, name: str = "", value: Any = None, **numbers: int) -> Operation:
    """One operation. `value` has the members of the part: `{"valueCode": "male"}` or `{"part": […]}`."""
    parts: list[dict[str, Any]] = [
        {"name": "type", "valueCode": kind},
        {"name": "path", "valueString": path},
    ]
    if name:
        parts.append({"name": "name", "valueString": name})
    if value is not None:
        parts.append({"name": "value", **value})
    parts += [{"name": number, "valueInteger": value} for number, value in numbers.items()]
    return {"name": "operation", "part": parts}


def parameters(*operations: Operation) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(operations)}


def body(*operations: Operation) -> Resource:
    return Resource(json.dumps(parameters(*operations)).encode())
