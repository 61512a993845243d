"""All rules by the path of their element, and which resource types convert between which releases."""

import re
from collections.abc import Mapping

from broker.fhir.conversion import (
    complex_types,
    device,
    device_metric,
    diagnostic_report,
    encounter,
    observation,
    people,
)
from broker.fhir.conversion.r4_and_r4b import RESOURCE_MEMBERS
from broker.fhir.conversion.type_rules import Direction, TypeRules
from broker.model.release import Release

CONVERTIBLE = frozenset(
    {"Device", "DeviceMetric", "DiagnosticReport", "Encounter", "Observation", "Patient", "Practitioner"}
)
"""Types convertible between R4 or R4B and R5."""

CONTAINABLE = frozenset({"Location", "Organization", "PractitionerRole", "RelatedPerson", "Specimen"})
"""Types that may be contained in one of those: they pass if they are valid in both releases; their codes did
not change.
"""

TYPE_RULES: tuple[TypeRules, ...] = (
    *complex_types.TYPE_RULES,
    *device.TYPE_RULES,
    *device_metric.TYPE_RULES,
    *diagnostic_report.TYPE_RULES,
    *encounter.TYPE_RULES,
    *observation.TYPE_RULES,
    *people.TYPE_RULES,
)

RESOURCE = "Resource"
"""The path of an element that may be a resource: its own type is the path of what it holds."""

_BY_PATH_IN_R5: Mapping[bool, Mapping[str, TypeRules]] = {
    True: {type_rules.r5: type_rules for type_rules in TYPE_RULES},
    False: {type_rules.r4: type_rules for type_rules in TYPE_RULES},
}
_ALIASES = {
    "Observation.component.referenceRange": "Observation.referenceRange",
    "RelatedArtifact.document": "Attachment",
    "TriggerDefinition.data": "DataRequirement",
    "Group.member": "Group.member",  # has no rules, but a reference with other targets in R4 than in R4B
}
_BY_NAME = {
    "photo": "Attachment",
    "presentedForm": "Attachment",
    "note": "Annotation",
    "extension": "Extension",
    "modifierExtension": "Extension",
    **dict.fromkeys(RESOURCE_MEMBERS, RESOURCE),
}
_VALUE = re.compile("value([A-Z][A-Za-z0-9]*)")


def rules_at(path: str, direction: Direction) -> TypeRules | None:
    """The rules for elements at the path in the source release."""
    return _BY_PATH_IN_R5[direction.source is Release.R5].get(path)


def element_path(parent: str, name: str, release: Release) -> str:
    """The path of the rules for the member `name` of an element at `parent`; '' if no rule depends on it."""
    path = f"{parent}.{name}"
    if path in _ALIASES:
        return _ALIASES[path]
    paths = _BY_PATH_IN_R5[release is Release.R5]
    if path in paths:
        return path
    if name in _BY_NAME:
        return _BY_NAME[name]
    value = _VALUE.fullmatch(name)
    return value[1] if value and value[1] in paths else ""
