"""Elements inside extensions: written into one, and read out of one again.

An element with a type that an Extension may have goes into `value[x]`; a backbone element, or a data type that no
Extension may have, becomes one sub-extension for each of its elements, named like it. A primitive with an id or
extensions of its own becomes a sub-extension `value` beside them, as fhir.resources knows no `_value[x]`. The types
here are those of R5 and R4 together; `datatypes.py` sees to it that the release in question knows them.
"""

from collections.abc import Iterator
from typing import Any

from broker.fhir.conversion.rules import Field, Node, NotConvertible, capital, fields

DATATYPE = "http://hl7.org/fhir/StructureDefinition/_datatype"
_MODIFIERS = "modifierExtension"

SHAPES: dict[str, tuple[Field, ...]] = {
    name: fields(text)
    for name, text in {
        "Availability": "availableTime:Availability.availableTime* notAvailableTime:Availability.notAvailableTime*",
        "Availability.availableTime": "daysOfWeek:code* allDay:boolean availableStartTime:time availableEndTime:time",
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
"""The elements of each type that may have to become sub-extensions."""

_VALUE = "value"
_NEVER_A_VALUE = frozenset({"VirtualServiceDetail"})


def write(prefix: str, wanted: tuple[Field, ...], node: Node) -> list[Node]:
    """The extensions that hold all of the node's members; the url of each is the prefix and the element's name."""
    written: list[Node] = []
    left = set(node)
    for one in wanted:
        for name, kind in one.members():
            left -= {name, f"_{name}"}
            for value, sibling in _pairs(one, node.get(name), node.get(f"_{name}")):
                written.append(_extension(prefix + one.name, kind, value, sibling))
    if left:
        raise NotConvertible(f"{sorted(left)} can't be carried")
    return written


def read(prefix: str, wanted: tuple[Field, ...], extensions: list[Node]) -> Node | None:
    """The inverse of `write`; None where the extensions are not what `write` writes."""
    node: Node = {}
    for one in wanted:
        mine = [given for given in extensions if given.get("url") == prefix + one.name]
        if not mine:
            continue
        found = {_held(one, given) for given in mine}
        if len(found) != 1 or (len(mine) > 1 and not one.many):
            return None
        member = found.pop()
        if member is None:
            return None
        values, siblings = zip(*(_value(member[1], given) for given in mine), strict=True)
        if any(value is None and sibling is None for value, sibling in zip(values, siblings, strict=True)):
            return None
        if any(value is not None for value in values):
            node[member[0]] = list(values) if one.many else values[0]
        if any(sibling is not None for sibling in siblings):
            node[f"_{member[0]}"] = list(siblings) if one.many else siblings[0]
    return node


def shaped(url: str, kind: str, value: Node) -> Node:
    """A complex value as an extension with one sub-extension for each element; a named data type says its name first."""
    rest = dict(value)
    own = [*rest.pop("extension", [])]
    modifiers = rest.pop(_MODIFIERS, None)
    start = {"id": rest.pop("id")} if "id" in rest else {}
    parts = [] if "." in kind else [{"url": DATATYPE, "valueString": kind}]
    parts += [*write("", SHAPES[kind], rest), *own]
    if modifiers is not None:
        parts.append({"url": _MODIFIERS, "extension": modifiers})
    if not parts:
        raise NotConvertible(f"a {kind} without any element can't be carried")
    return {**start, "url": url, "extension": parts}


def unshaped(kind: str, extension: Node) -> Node | None:
    """The inverse of `shaped`."""
    names = {one.name for one in SHAPES[kind]}
    parts: list[Node] = extension.get("extension", [])
    value = read("", SHAPES[kind], parts)
    if value is None:
        return None
    own = []
    for part in parts:
        if part.get("url") == _MODIFIERS:
            value[_MODIFIERS] = part.get("extension")
        elif part.get("url") not in names and part != {"url": DATATYPE, "valueString": kind}:
            own.append(part)
    if own:
        value["extension"] = own
    if "id" in extension:
        value["id"] = extension["id"]
    return value


def _pairs(one: Field, value: Any, sibling: Any) -> Iterator[tuple[Any, Any]]:
    if value is None and sibling is None:
        return
    if not one.many:
        yield value, sibling
        return
    values, siblings = value or [], sibling or []
    for n in range(max(len(values), len(siblings))):
        yield (values[n] if n < len(values) else None), (siblings[n] if n < len(siblings) else None)


def _is_shape(kind: str) -> bool:
    return "." in kind or kind in _NEVER_A_VALUE


def _extension(url: str, kind: str, value: Any, sibling: Any) -> Node:
    if _is_shape(kind):
        return shaped(url, kind, value)
    name = f"value{capital(kind)}"
    if sibling is None:
        return {"url": url, name: value}
    parts = [{"url": DATATYPE, "valueString": kind}]
    if value is not None:
        parts.append({"url": _VALUE, name: value})
    start = {"id": sibling["id"]} if "id" in sibling else {}
    return {**start, "url": url, "extension": [*parts, *sibling.get("extension", [])]}


def _held(one: Field, extension: Node) -> tuple[str, str] | None:
    """The member that the extension holds, with its type."""
    parts = extension.get("extension", [])
    for name, kind in one.members():
        if parts if _is_shape(kind) else f"value{capital(kind)}" in extension or _names(parts, kind):
            return name, kind
    return None


def _value(kind: str, extension: Node) -> tuple[Any, Any]:
    """The value and its sibling."""
    name = f"value{capital(kind)}"
    if _is_shape(kind):
        return unshaped(kind, extension), None
    if name in extension:
        return extension[name], None
    sibling: Node = {"id": extension["id"]} if "id" in extension else {}
    value = None
    own = []
    for part in extension["extension"]:
        if part.get("url") == _VALUE:
            value = part.get(name)
        elif not _names([part], kind):
            own.append(part)
    if own:
        sibling["extension"] = own
    return value, sibling or None


def _names(parts: list[Node], kind: str) -> bool:
    return {"url": DATATYPE, "valueString": kind} in parts
