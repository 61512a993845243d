"""Elements kept in extensions: written into them, and read out of them again.

An element of a type that an Extension may have goes into `value[x]`. A backbone element, or a data type that
no Extension may have, is spelled out: one sub-extension for each of its elements, named like it. A primitive
with an id or extensions of its own becomes a sub-extension `value` beside them, because fhir.resources has no
`_value[x]`. The types here are those of R4 and R5 together; `datatypes.py` takes care of those that a release
lacks.
"""

from collections.abc import Iterator
from typing import Any

from broker.fhir.conversion.type_rules import (
    ElementDefinition,
    JsonElement,
    NotConvertible,
    capitalized,
    elements,
)

DATATYPE = "http://hl7.org/fhir/StructureDefinition/_datatype"
_MODIFIERS = "modifierExtension"

SPELLED_OUT: dict[str, tuple[ElementDefinition, ...]] = {
    name: elements(text)
    for name, text in {
        "Availability": (
            "availableTime:Availability.availableTime* notAvailableTime:Availability.notAvailableTime*"
        ),
        "Availability.availableTime": (
            "daysOfWeek:code* allDay:boolean availableStartTime:time availableEndTime:time"
        ),
        "Availability.notAvailableTime": "description:string during:Period",
        "CodeableReference": "concept:CodeableConcept reference:Reference",
        "Contributor": "type:code name:string contact:ContactDetail*",
        "DataRequirement.valueFilter": (
            "path:string searchParam:string comparator:code value[x]:dateTime|Period|Duration"
        ),
        "DiagnosticReport.supportingInfo": "type:CodeableConcept reference:Reference",
        "Encounter.classHistory": "class:Coding period:Period",
        "Encounter.reason": "use:CodeableConcept* value:CodeableReference*",
        "Encounter.statusHistory": "status:code period:Period",
        "ExtendedContactDetail": (
            "purpose:CodeableConcept name:HumanName* telecom:ContactPoint* address:Address "
            "organization:Reference period:Period"
        ),
        "Meta": (
            "versionId:id lastUpdated:instant source:uri profile:canonical* security:Coding* tag:Coding*"
        ),
        "Observation.triggeredBy": "observation:Reference type:code reason:string",
        "Practitioner.communication": "language:CodeableConcept preferred:boolean",
        "RatioRange": "lowNumerator:Quantity highNumerator:Quantity denominator:Quantity",
        "VirtualServiceDetail": (
            "channelType:Coding address[x]:url|string|ContactPoint|ExtendedContactDetail additionalInfo:url* "
            "maxParticipants:positiveInt sessionKey:string"
        ),
    }.items()
}
"""The elements of each type that no Extension may have as its value."""

_VALUE = "value"
_NEVER_A_VALUE = frozenset({"VirtualServiceDetail"})


def write_elements(
    prefix: str, definitions: tuple[ElementDefinition, ...], element: JsonElement
) -> list[JsonElement]:
    """The extensions that hold all members of the element; the url of each is the prefix and the member's
    element name.

    Raises `NotConvertible` if the element has a member that no definition covers.
    """
    extensions: list[JsonElement] = []
    remaining = set(element)
    for definition in definitions:
        for name, type_name in definition.members():
            remaining -= {name, f"_{name}"}
            for value, sibling in _pairs(definition, element.get(name), element.get(f"_{name}")):
                extensions.append(_extension(prefix + definition.name, type_name, value, sibling))
    if remaining:
        raise NotConvertible(f"{sorted(remaining)} can't be kept in extensions")
    return extensions


def read_elements(
    prefix: str, definitions: tuple[ElementDefinition, ...], extensions: list[JsonElement]
) -> JsonElement | None:
    """The inverse of `write_elements`; None where the extensions are not what `write_elements` writes."""
    element: JsonElement = {}
    for definition in definitions:
        matching = [extension for extension in extensions if extension.get("url") == prefix + definition.name]
        if not matching:
            continue
        members = {_member_in(definition, extension) for extension in matching}
        if len(members) != 1 or (len(matching) > 1 and not definition.repeats):
            return None
        member = members.pop()
        if member is None:
            return None
        name, type_name = member
        pairs = [_value_in(type_name, extension) for extension in matching]
        if any(value is None and sibling is None for value, sibling in pairs):
            return None
        values, siblings = zip(*pairs, strict=True)
        if any(value is not None for value in values):
            element[name] = list(values) if definition.repeats else values[0]
        if any(sibling is not None for sibling in siblings):
            element[f"_{name}"] = list(siblings) if definition.repeats else siblings[0]
    return element


def spell_out(url: str, type_name: str, value: JsonElement) -> JsonElement:
    """A complex value as an extension with one sub-extension for each element; a data type names itself
    first.
    """
    rest = dict(value)
    own_extensions = [*rest.pop("extension", [])]
    modifiers = rest.pop(_MODIFIERS, None)
    start = {"id": rest.pop("id")} if "id" in rest else {}
    parts = [] if "." in type_name else [{"url": DATATYPE, "valueString": type_name}]
    parts += [*write_elements("", SPELLED_OUT[type_name], rest), *own_extensions]
    if modifiers is not None:
        parts.append({"url": _MODIFIERS, "extension": modifiers})
    if not parts:
        raise NotConvertible(f"a {type_name} without any element can't be kept in an extension")
    return {**start, "url": url, "extension": parts}


def read_spelled_out(type_name: str, extension: JsonElement) -> JsonElement | None:
    """The inverse of `spell_out`; None where the extension is not what `spell_out` writes."""
    names = {definition.name for definition in SPELLED_OUT[type_name]}
    parts: list[JsonElement] = extension.get("extension", [])
    value = read_elements("", SPELLED_OUT[type_name], parts)
    if value is None:
        return None
    own_extensions = []
    for part in parts:
        if part.get("url") == _MODIFIERS:
            value[_MODIFIERS] = part.get("extension")
        elif part.get("url") not in names and part != {"url": DATATYPE, "valueString": type_name}:
            own_extensions.append(part)
    if own_extensions:
        value["extension"] = own_extensions
    if "id" in extension:
        value["id"] = extension["id"]
    return value


def _pairs(definition: ElementDefinition, value: Any, sibling: Any) -> Iterator[tuple[Any, Any]]:
    """Each value with its `_` sibling."""
    if value is None and sibling is None:
        return
    if not definition.repeats:
        yield value, sibling
        return
    values, siblings = value or [], sibling or []
    for n in range(max(len(values), len(siblings))):
        yield (values[n] if n < len(values) else None), (siblings[n] if n < len(siblings) else None)


def _is_spelled_out(type_name: str) -> bool:
    return "." in type_name or type_name in _NEVER_A_VALUE


def _extension(url: str, type_name: str, value: Any, sibling: Any) -> JsonElement:
    if _is_spelled_out(type_name):
        return spell_out(url, type_name, value)
    name = f"value{capitalized(type_name)}"
    if sibling is None:
        return {"url": url, name: value}
    parts = [{"url": DATATYPE, "valueString": type_name}]
    if value is not None:
        parts.append({"url": _VALUE, name: value})
    start = {"id": sibling["id"]} if "id" in sibling else {}
    return {**start, "url": url, "extension": [*parts, *sibling.get("extension", [])]}


def _member_in(definition: ElementDefinition, extension: JsonElement) -> tuple[str, str] | None:
    """The member that the extension holds, with its type."""
    parts = extension.get("extension", [])
    for name, type_name in definition.members():
        if _is_spelled_out(type_name):
            if parts:
                return name, type_name
        elif f"value{capitalized(type_name)}" in extension or _has_datatype(parts, type_name):
            return name, type_name
    return None


def _value_in(type_name: str, extension: JsonElement) -> tuple[Any, Any]:
    """The value that the extension holds, and its `_` sibling."""
    name = f"value{capitalized(type_name)}"
    if _is_spelled_out(type_name):
        return read_spelled_out(type_name, extension), None
    if name in extension:
        return extension[name], None
    sibling: JsonElement = {"id": extension["id"]} if "id" in extension else {}
    value = None
    own_extensions = []
    for part in extension["extension"]:
        if part.get("url") == _VALUE:
            value = part.get(name)
        elif not _has_datatype([part], type_name):
            own_extensions.append(part)
    if own_extensions:
        sibling["extension"] = own_extensions
    return value, sibling or None


def _has_datatype(parts: list[JsonElement], type_name: str) -> bool:
    return {"url": DATATYPE, "valueString": type_name} in parts
