"""A resource of one release as a resource of another, without loss: there and back is the same.

An element goes where the target has a place for it; where it has none, or only for part of it, the element is kept whole
in the standard cross-version extensions (`http://hl7.org/fhir/{release}/StructureDefinition/extension-{path}`), from which
the way back restores it. Numbers keep their spelling, and a body with nothing to convert is passed on as it is.

`rules.py` says what a rule is; `observation.py`, `device.py`, `device_metric.py`, `people.py`, `encounter.py`,
`diagnostic_report.py` and `complex_types.py` are the tables of them, collected in `catalog.py`; `engine.py` applies them;
`carriers.py` writes elements into extensions; `datatypes.py` sees to extension types and references a release lacks;
`shortcut.py` finds the bodies with nothing to convert.
"""

import json

import msgspec

from broker.errors import Unprocessable
from broker.fhir.conversion.catalog import CONTAINABLE, CONVERTIBLE, SAME_IN_R4_AND_R4B
from broker.fhir.conversion.engine import carried_over
from broker.fhir.conversion.rules import Direction, Node, NotConvertible
from broker.fhir.conversion.shortcut import is_alike
from broker.fhir.validation import RESOURCE_TYPES, validate
from broker.model.release import Release

__all__ = ["can_convert", "convert"]


def can_convert(resource_type: str, source: Release, target: Release) -> bool:
    """Whether resources of the type convert. A single one may still hold what can't be carried: see `convert`."""
    if source is target:
        return resource_type in RESOURCE_TYPES[source]
    if Release.R5 not in {source, target}:
        return resource_type in SAME_IN_R4_AND_R4B
    return resource_type in CONVERTIBLE


def convert(body: bytes, resource_type: str, source: Release, target: Release) -> bytes | None:
    """The resource in the target release. `body` must be valid in the source release.

    None if the type has no conversion, or the resource contains another whose type has none, or it already has the very
    extension that an element needs.
    """
    if source is target:
        return body
    if not can_convert(resource_type, source, target):
        return None
    direction = Direction(source, target)
    if is_alike(body, resource_type, direction):
        return body
    resource: Node = json.loads(body, parse_float=_number, parse_int=_number)
    try:
        converted = _whole(resource, direction)
    except NotConvertible:
        return None
    return body if converted == resource else msgspec.json.encode(converted)


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _whole(resource: Node, direction: Direction) -> Node:
    """The resource and those it contains."""
    contained = resource.get("contained")
    if contained is None:
        return carried_over(resource, direction)
    alone = {name: value for name, value in resource.items() if name != "contained"}
    return {
        **carried_over(alone, direction),
        "contained": [_contained(inner, direction) for inner in contained],
    }


def _contained(resource: Node, direction: Direction) -> Node:
    kind = resource["resourceType"]
    if can_convert(kind, direction.source, direction.target):
        return carried_over(resource, direction)
    if kind not in CONTAINABLE:
        raise NotConvertible(f"a contained {kind} has no conversion")
    converted = carried_over(resource, direction)
    try:
        validate(direction.target, kind, msgspec.json.encode(converted))
    except Unprocessable:
        raise NotConvertible(f"the contained {kind} is not valid in {direction.target}") from None
    return converted
