"""Converts a resource to another release without loss: converting it back gives the same resource.

An element goes where the target has a place for it. Where it has none, or only for part of it, the element is
kept whole in the standard cross-version extensions
(`http://hl7.org/fhir/{release}/StructureDefinition/extension-{path}`), from which the way back restores it.
Numbers keep their spelling, and a text with nothing to convert is returned as it is. The HTTP API and
delivery call `convert`.

Between R4 and R4B most resources stay as they are; `r4_and_r4b.py` lists what differs. For R5,
`type_rules.py` defines rules and their builders. `observation.py`, `device.py`, `device_metric.py`,
`people.py`, `encounter.py`, `diagnostic_report.py` and `complex_types.py` are tables of rules, and
`rule_tables.py` indexes them. `engine.py` applies rules, `cross_version_extensions.py` keeps elements in
extensions, `datatypes.py` handles value types and reference targets that a release lacks, and `unchanged.py`
finds texts with nothing to convert.
"""

import msgspec

from broker.errors import Unprocessable
from broker.fhir.conversion.engine import convert_resource
from broker.fhir.conversion.r4_and_r4b import SAME_IN_R4_AND_R4B, refuse_missing_members
from broker.fhir.conversion.rule_tables import CONTAINABLE, CONVERTIBLE
from broker.fhir.conversion.type_rules import Direction, JsonElement, NotConvertible
from broker.fhir.conversion.unchanged import is_unchanged
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import validate
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource

__all__ = ["can_convert", "convert"]


def can_convert(resource_type: str, source: Release, target: Release) -> bool:
    """Whether resources of the type convert.

    A single one may still hold something that does not: see `convert`.
    """
    if source is target:
        return resource_type in RESOURCE_TYPES[source]
    if Release.R5 not in {source, target}:
        return resource_type in SAME_IN_R4_AND_R4B
    return resource_type in CONVERTIBLE


def convert(resource: Resource, resource_type: str, source: Release, target: Release) -> Resource | None:
    """The resource in the target release. It must be valid in the source release.

    None if the type has no conversion, if the resource holds one of a type without conversion or an element
    that the target lacks and that can't be kept, or if it already has an extension that a converted element
    needs.
    """
    if source is target:
        return resource
    if not can_convert(resource_type, source, target):
        return None
    direction = Direction(source, target)
    if is_unchanged(resource.text, resource_type, direction):
        return resource
    element: JsonElement = json_text.decode_exact(resource.text)
    try:
        converted = _convert_with_contained(element, direction)
        refuse_missing_members(converted, direction)
    except NotConvertible:
        return None
    return resource if converted == element else Resource(msgspec.json.encode(converted))


def _convert_with_contained(resource: JsonElement, direction: Direction) -> JsonElement:
    contained = resource.get("contained")
    if contained is None:
        return convert_resource(resource, direction)
    container = {name: value for name, value in resource.items() if name != "contained"}
    return {
        **convert_resource(container, direction),
        "contained": [_convert_contained(each, direction) for each in contained],
    }


def _convert_contained(resource: JsonElement, direction: Direction) -> JsonElement:
    resource_type = resource["resourceType"]
    if can_convert(resource_type, direction.source, direction.target):
        return convert_resource(resource, direction)
    if resource_type not in CONTAINABLE:
        raise NotConvertible(f"a contained {resource_type} has no conversion")
    converted = convert_resource(resource, direction)
    try:
        validate(direction.target, resource_type, Resource(msgspec.json.encode(converted)))
    except Unprocessable:
        raise NotConvertible(f"the contained {resource_type} is not valid in {direction.target}") from None
    return converted
