"""Extensions and References in any resource: to a form that all releases share, and to that of the target.

An Extension whose value has a type that a release lacks is spelled out there as sub-extensions that name the
type (`_datatype`). A Reference to a type that the release lacks, or does not allow at that place, goes into
an `alternate-reference` extension. Both extensions are standard.
"""

import re
from collections.abc import Mapping
from functools import cache

import msgspec

from broker.fhir.conversion.cross_version_extensions import DATATYPE, read_spelled_out, spell_out
from broker.fhir.conversion.type_rules import JsonElement, NotConvertible, capitalized
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release

ALTERNATE_REFERENCE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"

_R5_TYPES = frozenset({"integer64", "Availability", "ExtendedContactDetail", "Meta"})
MISSING_VALUE_TYPES: Mapping[Release, frozenset[str]] = {
    Release.R4: _R5_TYPES | {"CodeableReference", "RatioRange"},
    Release.R4B: _R5_TYPES,
    Release.R5: frozenset({"Contributor"}),
}
"""The types that the value of an Extension can't have.

R4 allows Meta, which the definitions of R4B leave out: it is spelled out in both.
"""

_R4_AND_R4B_DISALLOWED: Mapping[str, frozenset[str]] = {
    "Annotation.authorReference": frozenset({"PractitionerRole"}),
    "DiagnosticReport.media.link": frozenset({"DocumentReference"}),
    "DiagnosticReport.subject": frozenset({"BiologicallyDerivedProduct"}),
    "Encounter.basedOn": frozenset({"CarePlan", "DeviceRequest", "MedicationRequest"}),
    "Encounter.participant.individual": frozenset({"Patient", "Group", "Device", "HealthcareService"}),
    "Encounter.reasonReference": frozenset({"DiagnosticReport"}),
    "Observation.specimen": frozenset({"Group"}),
    "Observation.subject": frozenset({"BiologicallyDerivedProduct", "NutritionProduct"}),
}
_SUBJECTS_OF_R4B = frozenset({"Medication", "Organization", "Practitioner", "Procedure", "Substance"})
DISALLOWED_TARGETS: Mapping[Release, Mapping[str, frozenset[str]]] = {
    Release.R4: {
        **_R4_AND_R4B_DISALLOWED,
        "DiagnosticReport.subject": _R4_AND_R4B_DISALLOWED["DiagnosticReport.subject"] | _SUBJECTS_OF_R4B,
        "Group.member.entity": frozenset({"RelatedPerson"}),
        "Observation.subject": _R4_AND_R4B_DISALLOWED["Observation.subject"] | _SUBJECTS_OF_R4B,
    },
    Release.R4B: _R4_AND_R4B_DISALLOWED,
    Release.R5: {
        "DiagnosticReport.subject": frozenset({"Procedure"}),
        "Encounter.diagnosis.condition.reference": frozenset({"Procedure"}),
    },
}
"""Types that an element can't refer to in the release, but can in another."""

_LITERAL = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[^/]+)?")
_REFERENCE_MEMBERS = frozenset(
    {"id", "extension", "reference", "_reference", "type", "_type", "identifier", "display", "_display"}
)
_ALL_TYPES = frozenset().union(*RESOURCE_TYPES.values())


def restore_value_type(extension: JsonElement, source: Release, target: Release) -> JsonElement:
    """The Extension with the value that the source could only spell out, if the target has its type."""
    parts = extension.get("extension")
    if not parts or "url" not in extension:
        return extension
    type_names = [part.get("valueString") for part in parts if part.get("url") == DATATYPE]
    missing = MISSING_VALUE_TYPES[source] - MISSING_VALUE_TYPES[target]
    if len(type_names) != 1 or type_names[0] not in missing:
        return extension
    type_name: str = type_names[0]
    if type_name == "integer64":
        value = _read_integer64(extension)
    else:
        complex_value = read_spelled_out(type_name, extension)
        value = None if complex_value is None else {f"value{capitalized(type_name)}": complex_value}
    if value is None:
        return extension
    restored = {"url": extension["url"], **value}
    return restored if spell_out_value_type(restored, source) == extension else extension


def spell_out_value_type(extension: JsonElement, target: Release) -> JsonElement:
    """The inverse of `restore_value_type`, for types that the target lacks."""
    for type_name in MISSING_VALUE_TYPES[target]:
        name = f"value{capitalized(type_name)}"
        if name in extension:
            if "id" in extension:
                raise NotConvertible(f"the id of an Extension of type {type_name} has no place in {target}")
            if type_name == "integer64":
                return _spell_out_integer64(extension)
            return spell_out(extension["url"], type_name, extension[name])
    return extension


def wrap_reference(reference: object, types: frozenset[str]) -> object:
    """A Reference to one of the types, for elements that can't refer to it; other values unchanged."""
    if not isinstance(reference, dict) or _target_type(reference) not in types:
        return reference
    return {"extension": [{"url": ALTERNATE_REFERENCE, "valueReference": reference}]}


def unwrap_reference(reference: object, types: frozenset[str]) -> object:
    """The inverse of `wrap_reference`."""
    if not isinstance(reference, dict) or set(reference) != {"extension"} or len(reference["extension"]) != 1:
        return reference
    extension = reference["extension"][0]
    if set(extension) != {"url", "valueReference"} or extension["url"] != ALTERNATE_REFERENCE:
        return reference
    inner = extension["valueReference"]
    return inner if wrap_reference(inner, types) == reference else reference


@cache
def missing_resource_types(release: Release) -> frozenset[str]:
    """The resource types that other releases have and this one does not."""
    return _ALL_TYPES - RESOURCE_TYPES[release]


def disallowed_targets(path: str, release: Release) -> frozenset[str]:
    """The resource types that the element can't refer to in the release."""
    disallowed = DISALLOWED_TARGETS[release].get(path)
    missing = missing_resource_types(release)
    return missing | disallowed if disallowed else missing


def _target_type(element: JsonElement) -> str:
    """The resource type a Reference names; '' where the element is not a Reference or names no type."""
    if not _REFERENCE_MEMBERS.issuperset(element):
        return ""
    literal, type_name = element.get("reference"), element.get("type")
    if isinstance(literal, str) and (match := _LITERAL.fullmatch(literal)):
        return match[1]
    return type_name if isinstance(type_name, str) and type_name in _ALL_TYPES else ""


def _spell_out_integer64(extension: JsonElement) -> JsonElement:
    value = extension["valueInteger64"]
    name = "valueDecimal" if isinstance(value, msgspec.Raw) else "valueString"
    parts = [{"url": DATATYPE, "valueString": "integer64"}, {"url": "value", name: value}]
    return {"url": extension["url"], "extension": parts}


def _read_integer64(extension: JsonElement) -> JsonElement | None:
    parts = [part for part in extension["extension"] if part.get("url") == "value"]
    if len(parts) != 1:
        return None
    value = parts[0].get("valueString", parts[0].get("valueDecimal"))
    return None if value is None else {"valueInteger64": value}
