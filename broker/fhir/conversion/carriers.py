"""Elements inside extensions: written into one, and read out of one again.

An element with a type that an Extension may have goes into `value[x]`, `_value[x]` included; a backbone element, or a
data type that no Extension may have, becomes one sub-extension for each of its elements, named like it. The types here
are those of R5 and R4 together; `datatypes.py` sees to it that the release in question knows them.
"""

from collections.abc import Iterator
from typing import Any

from broker.fhir.conversion.rules import Field, Node, Uncarriable, capital, fields

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
        raise Uncarriable(f"{sorted(left)} can't be carried")
    return written


def read(prefix: str, wanted: tuple[Field, ...], extensions: list[Node]) -> Node | None:
    """The inverse of `write`; None where the extensions are not what `write` writes."""
    node: Node = {}
    for one in wanted:
        mine = [given for given in extensions if given.get("url") == prefix + one.name]
        if not mine:
            continue
        found = {_read(one, given) for given in map(_Given, mine)}
        if len(found) != 1 or (len(mine) > 1 and not one.many):
            return None
        member = found.pop()
        if member is None:
            return None
        values, siblings = zip(*(_value(*member, given) for given in mine), strict=True)
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
        raise Uncarriable(f"a {kind} without any element can't be carried")
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
    extension: Node = {"url": url}
    if value is not None:
        extension[name] = value
    if sibling is not None:
        extension[f"_{name}"] = sibling
    return extension


class _Given:
    """An extension to look at; hashing is by identity, so that a set of results can be built from several."""

    def __init__(self, extension: Node) -> None:
        self.members = frozenset(extension)
        self.has_parts = "extension" in extension


def _read(one: Field, given: _Given) -> tuple[str, str] | None:
    """The member that the extension holds, with its type."""
    for name, kind in one.members():
        value = f"value{capital(kind)}"
        if given.has_parts if _is_shape(kind) else value in given.members or f"_{value}" in given.members:
            return name, kind
    return None


def _value(_name: str, kind: str, extension: Node) -> tuple[Any, Any]:
    if _is_shape(kind):
        return unshaped(kind, extension), None
    name = f"value{capital(kind)}"
    return extension.get(name), extension.get(f"_{name}")
