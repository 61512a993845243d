"""The Parameters resource as operations take and give it: values by name, in a form that is the same in every release."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.clock import to_instant
from broker.errors import Issue, Malformed
from broker.fhir import documents

Part = dict[str, Any]
"""One `Parameters.parameter`, or one part of it."""


@dataclass(frozen=True, slots=True)
class Given:
    """One parameter of a request: its value as text, or a resource as the bytes it came in."""

    text: str = ""
    resource: bytes = b""


def read(body: bytes, known: Sequence[str]) -> Mapping[str, Given]:
    """Each parameter once, under its name; those named in `known` and no others. Raises `Malformed` or `Unprocessable`."""
    documents.check_type(body, "Parameters")
    listed = documents.parse(body).get("parameter", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Malformed(Issue("structure", "parameter must be an array of objects", "Parameters.parameter"))
    found: dict[str, Given] = {}
    for n, (values, raw) in enumerate(
        zip(listed, documents.items(documents.members(body).get("parameter", b"[]")), strict=True)
    ):
        name, where = values.get("name"), f"Parameters.parameter[{n}]"
        if name not in known:
            text = f"unknown parameter {name!r}; known are {', '.join(known)}"
            raise Malformed(Issue("not-supported", text, where))
        if name in found:
            raise Malformed(Issue("invalid", f"{name} is given twice", where))
        found[name] = _given(values, documents.members(raw), where)
    return found


def _given(values: Mapping[str, Any], raw: Mapping[str, bytes], where: str) -> Given:
    if "resource" in raw:
        return Given(resource=raw["resource"])
    value = next((one for key, one in values.items() if key.startswith("value")), None)
    if isinstance(value, dict):
        value = value.get("reference")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise Malformed(Issue("value", f"{values['name']} has neither a value nor a resource", where))
    return Given(text=str(value).strip())


def resource(given: Mapping[str, Given], name: str) -> bytes:
    """Raises `Malformed` where the parameter is missing or holds no resource."""
    found = given.get(name)
    if found is None or not found.resource:
        raise Malformed(Issue("required", f"{name} takes a resource", f"Parameters.parameter('{name}')"))
    return found.resource


def text(name: str, value: str | None, kind: str = "String") -> list[Part]:
    """Nothing where there is no text: a FHIR string is never empty."""
    return [{"name": name, f"value{kind}": value}] if value and value.strip() else []


def flag(name: str, *, value: bool) -> list[Part]:
    return [{"name": name, "valueBoolean": value}]


def whole(name: str, value: int) -> list[Part]:
    return [{"name": name, "valueInteger": value}]


def instant(name: str, at_ms: int | None) -> list[Part]:
    return [{"name": name, "valueInstant": to_instant(at_ms)}] if at_ms else []


def group(name: str, *parts: list[Part]) -> list[Part]:
    """A parameter that is made of parts; nothing where there are none."""
    flat = [part for some in parts for part in some]
    return [{"name": name, "part": flat}] if flat else []


def render(*parts: list[Part]) -> bytes:
    return orjson.dumps(
        {"resourceType": "Parameters", "parameter": [part for some in parts for part in some]}
    )
