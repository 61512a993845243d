"""Extensions and References whatever resource they are in: first brought into a form all releases share, at last into the target's.

An Extension whose type a release lacks is written there as sub-extensions that name the type (`_datatype`); a Reference
to a type that the release lacks, or doesn't allow at that place, goes inside `alternate-reference`. Both are standard.
"""

import re
from collections.abc import Mapping
from functools import cache

import msgspec

from broker.fhir.conversion.carriers import DATATYPE, shaped, unshaped
from broker.fhir.conversion.rules import Node, NotConvertible, capital
from broker.fhir.validation import RESOURCE_TYPES
from broker.model.release import Release

ALTERNATE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"

_NEW_TYPES = frozenset({"integer64", "Availability", "ExtendedContactDetail", "Meta"})
LACKS: Mapping[Release, frozenset[str]] = {
    Release.R4: _NEW_TYPES | {"CodeableReference", "RatioRange"},
    Release.R4B: _NEW_TYPES,
    Release.R5: frozenset({"Contributor"}),
}
"""The types an Extension can't have. R4 allows Meta, but the classes that its bodies are checked with don't."""

_OLD_NARROW: Mapping[str, frozenset[str]] = {
    "Annotation.authorReference": frozenset({"PractitionerRole"}),
    "DiagnosticReport.media.link": frozenset({"DocumentReference"}),
    "DiagnosticReport.subject": frozenset({"BiologicallyDerivedProduct"}),
    "Encounter.basedOn": frozenset({"CarePlan", "DeviceRequest", "MedicationRequest"}),
    "Encounter.participant.individual": frozenset({"Patient", "Group", "Device", "HealthcareService"}),
    "Encounter.reasonReference": frozenset({"DiagnosticReport"}),
    "Observation.specimen": frozenset({"Group"}),
    "Observation.subject": frozenset({"BiologicallyDerivedProduct", "NutritionProduct"}),
}
NARROW: Mapping[Release, Mapping[str, frozenset[str]]] = {
    Release.R4: _OLD_NARROW,
    Release.R4B: _OLD_NARROW,
    Release.R5: {
        "DiagnosticReport.subject": frozenset({"Procedure"}),
        "Encounter.diagnosis.condition.reference": frozenset({"Procedure"}),
    },
}
"""Types that an element can't refer to in the release, but can in another."""

_LITERAL = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[^/]+)?")
_MEMBERS_OF_REFERENCE = frozenset(
    {"id", "extension", "reference", "_reference", "type", "_type", "identifier", "display", "_display"}
)
_ALL_TYPES = frozenset().union(*RESOURCE_TYPES.values())


def decoded(extension: Node, source: Release, target: Release) -> Node:
    """The Extension with its value where the source could only spell it as sub-extensions and the target knows its type."""
    parts = extension.get("extension")
    if not parts or "url" not in extension:
        return extension
    kinds = [part.get("valueString") for part in parts if part.get("url") == DATATYPE]
    if len(kinds) != 1 or kinds[0] not in LACKS[source] - LACKS[target]:
        return extension
    kind: str = kinds[0]
    value = _unspelt(extension) if kind == "integer64" else unshaped(kind, extension)
    if value is None:
        return extension
    given = value if kind == "integer64" else {f"value{capital(kind)}": value}
    candidate = {"url": extension["url"], **given}
    return candidate if encoded(candidate, source) == extension else extension


def encoded(extension: Node, target: Release) -> Node:
    """The inverse of `decoded`, for types the target lacks."""
    for kind in LACKS[target]:
        name = f"value{capital(kind)}"
        if name in extension:
            if "id" in extension:
                raise NotConvertible(f"the id of an Extension of type {kind} has no place in {target}")
            if kind == "integer64":
                return _spelt(extension)
            return shaped(extension["url"], kind, extension[name])
    return extension


def wrapped(reference: object, kinds: frozenset[str]) -> object:
    """A Reference to one of the types, in a form that a place which can't refer to it may have; others as they are."""
    if not isinstance(reference, dict) or referred(reference) not in kinds:
        return reference
    return {"extension": [{"url": ALTERNATE, "valueReference": reference}]}


def unwrapped(reference: object, kinds: frozenset[str]) -> object:
    """The inverse of `wrapped`."""
    if not isinstance(reference, dict) or set(reference) != {"extension"} or len(reference["extension"]) != 1:
        return reference
    extension = reference["extension"][0]
    if set(extension) != {"url", "valueReference"} or extension["url"] != ALTERNATE:
        return reference
    inner = extension["valueReference"]
    return inner if wrapped(inner, kinds) == reference else reference


@cache
def lacking(release: Release) -> frozenset[str]:
    """The resource types of other releases that this one doesn't have."""
    return _ALL_TYPES - RESOURCE_TYPES[release]


def banned(path: str, release: Release) -> frozenset[str]:
    """The resource types that the element can't refer to in the release."""
    narrow = NARROW[release].get(path)
    return lacking(release) | narrow if narrow else lacking(release)


def referred(node: Node) -> str:
    """The resource type a Reference names; '' where it is no Reference or names none."""
    if not _MEMBERS_OF_REFERENCE.issuperset(node):
        return ""
    literal, kind = node.get("reference"), node.get("type")
    if isinstance(literal, str) and (found := _LITERAL.fullmatch(literal)):
        return found[1]
    return kind if isinstance(kind, str) and kind in _ALL_TYPES else ""


def _spelt(extension: Node) -> Node:
    value = extension["valueInteger64"]
    name = "valueDecimal" if isinstance(value, msgspec.Raw) else "valueString"
    parts = [{"url": DATATYPE, "valueString": "integer64"}, {"url": "value", name: value}]
    return {"url": extension["url"], "extension": parts}


def _unspelt(extension: Node) -> Node | None:
    parts = [part for part in extension["extension"] if part.get("url") == "value"]
    if len(parts) != 1:
        return None
    value = parts[0].get("valueString", parts[0].get("valueDecimal"))
    return None if value is None else {"valueInteger64": value}
