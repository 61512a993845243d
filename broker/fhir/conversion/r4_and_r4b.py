"""The differences between R4 (4.0.1) and R4B (4.3.0), from a comparison of all their definitions.

Every other type that both releases have has the same elements, cardinalities and codes in both, so its
resources need no conversion (decision 103). Besides what is here, the releases differ in the value types of
extensions and in the targets of some references (`datatypes.py`), and in the fields of resource types that
only one of them has (`resource_types.py`).
"""

from collections.abc import Mapping

from broker.fhir.conversion.type_rules import Direction, JsonElement, NotConvertible
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release

RESTRUCTURED = frozenset({"Evidence", "EvidenceVariable"})
"""Types with another structure in R4B."""

SAME_IN_R4_AND_R4B = (RESOURCE_TYPES[Release.R4] & RESOURCE_TYPES[Release.R4B]) - RESTRUCTURED
"""Types of which a resource is valid in R4 exactly if it is valid in R4B, apart from `MISSING_MEMBERS`,
references, and data types in extensions.
"""

CONTAINERS = frozenset({"Bundle", "Parameters"})
"""Types whose elements hold resources of any type."""

RESOURCE_MEMBERS = frozenset({"contained", "resource", "outcome"})
"""The members that may hold resources."""

_ELEMENT_VALUES = ("defaultValue", "fixed", "pattern", "value")
MISSING_MEMBERS: Mapping[Release, Mapping[str, frozenset[str]]] = {
    Release.R4: {
        "ActivityDefinition": frozenset({"subjectCanonical"}),
        "PlanDefinition": frozenset({"subjectCanonical"}),
        "StructureDefinition": frozenset(
            prefix + type_name
            for prefix in _ELEMENT_VALUES
            for type_name in ("CodeableReference", "RatioRange")
        ),
    },
    Release.R4B: {"StructureDefinition": frozenset(f"{prefix}Meta" for prefix in _ELEMENT_VALUES)},
}
"""The members, at any depth of a type, that the other release of the two has and this one does not."""


def refuse_missing_members(resource: JsonElement, direction: Direction) -> None:
    """Raises `NotConvertible` for a converted resource with a type or a member that the target lacks.

    Extensions are already in the form of the target.
    """
    if Release.R5 not in {direction.source, direction.target}:
        _refuse_resource(resource, direction.target)


def _refuse_resource(resource: JsonElement, target: Release) -> None:
    resource_type: str = resource["resourceType"]
    if resource_type not in SAME_IN_R4_AND_R4B:
        raise NotConvertible(f"{resource_type} has no conversion to {target}")
    _refuse_in(resource, MISSING_MEMBERS[target].get(resource_type, frozenset()), target)


def _refuse_in(element: JsonElement, missing: frozenset[str], target: Release) -> None:
    if not missing.isdisjoint(element):
        raise NotConvertible(f"{sorted(missing & set(element))} do not exist in {target}")
    for name, value in element.items():
        for child in value if isinstance(value, list) else (value,):
            if not isinstance(child, dict):
                continue
            if name in RESOURCE_MEMBERS and isinstance(child.get("resourceType"), str):
                _refuse_resource(child, target)
            else:
                _refuse_in(child, missing, target)
