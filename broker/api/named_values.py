"""The Parameters resource as operations take and return it: values by name, in a form that all releases
share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.clock import to_instant
from broker.errors import Issue, Malformed
from broker.fhir.identity import check_type
from broker.model import json_text
from broker.model.resource import Resource

Part = dict[str, Any]
"""One `Parameters.parameter`, or one part of it."""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one parameter: a text, or a resource in the spelling it came in."""

    text: str = ""
    resource: Resource | None = None


def read(parameters: Resource, supported: Sequence[str]) -> Mapping[str, Value]:
    """Each parameter once, by name. Raises `Malformed` for an unsupported or repeated one, `Unprocessable`
    for another type.
    """
    check_type(parameters, "Parameters")
    listed = parameters.copy().get("parameter", [])
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        text = "parameter is not an array of objects. Send an array."
        raise Malformed(Issue("structure", text, "Parameters.parameter"))
    values: dict[str, Value] = {}
    spelled = json_text.items(parameters.members.get("parameter", b"[]"))
    for n, (parameter, raw) in enumerate(zip(listed, spelled, strict=True)):
        name, element = parameter.get("name"), f"Parameters.parameter[{n}]"
        if name not in supported:
            text = f"The parameter {name!r} is not supported. Use one of: {', '.join(supported)}."
            raise Malformed(Issue("not-supported", text, element))
        if name in values:
            raise Malformed(Issue("invalid", f"{name} is repeated. Send it once.", element))
        values[name] = _value(parameter, json_text.members(raw), element)
    return values


def _value(parameter: Mapping[str, Any], raw: Mapping[str, bytes], element: str) -> Value:
    if "resource" in raw:
        return Value(resource=Resource(raw["resource"]))
    value = next((each for key, each in parameter.items() if key.startswith("value")), None)
    if isinstance(value, dict):
        value = value.get("reference")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        text = f"{parameter['name']} has neither a value nor a resource. Send one of them."
        raise Malformed(Issue("value", text, element))
    return Value(text=str(value).strip())


def resource(values: Mapping[str, Value], name: str) -> Resource:
    """Raises `Malformed` where the parameter is missing or has no resource."""
    value = values.get(name)
    if value is None or value.resource is None:
        text = f"{name} takes a resource. Send it in the parameter's element resource."
        raise Malformed(Issue("required", text, f"Parameters.parameter('{name}')"))
    return value.resource


def text(name: str, value: str | None, kind: str = "String") -> list[Part]:
    """A parameter with a text; none for an empty text, which FHIR does not allow."""
    return [{"name": name, f"value{kind}": value}] if value and value.strip() else []


def flag(name: str, *, value: bool) -> list[Part]:
    """A parameter with a boolean."""
    return [{"name": name, "valueBoolean": value}]


def whole(name: str, value: int) -> list[Part]:
    """A parameter with an integer."""
    return [{"name": name, "valueInteger": value}]


def instant(name: str, at_ms: int | None) -> list[Part]:
    """A parameter with an instant (ms); none for 0 and None."""
    return [{"name": name, "valueInstant": to_instant(at_ms)}] if at_ms else []


def embedded(name: str, resource: bytes) -> list[Part]:
    """A parameter with a resource in its spelling; none for an empty text."""
    return [{"name": name, "resource": orjson.Fragment(resource)}] if resource else []


def group(name: str, *parts: list[Part]) -> list[Part]:
    """A parameter that consists of parts; none without parts."""
    flat = [part for each in parts for part in each]
    return [{"name": name, "part": flat}] if flat else []


def render(*parts: list[Part]) -> bytes:
    """The Parameters resource."""
    flat = [part for each in parts for part in each]
    # FHIR has no empty arrays
    return orjson.dumps({"resourceType": "Parameters"} | ({"parameter": flat} if flat else {}))
