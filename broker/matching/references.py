"""References: the same resource has one normal form, however the reference is written (R-405)."""

import re
from typing import Any

from broker.matching.strings import display_test, is_version_of
from broker.matching.tokens import token_test
from broker.matching.values import BadValue, ElementTest, unescape
from broker.model.search import Modifier, SearchParameter

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
CANONICAL_TYPES = frozenset(
    {
        *("ActivityDefinition", "ActorDefinition", "CapabilityStatement", "ChargeItemDefinition", "Citation"),
        *("CodeSystem", "CompartmentDefinition", "ConceptMap", "ConditionDefinition", "DeviceDefinition"),
        *("EventDefinition", "Evidence", "EvidenceReport", "EvidenceVariable", "ExampleScenario"),
        *("GraphDefinition", "ImplementationGuide", "Library", "Measure", "MessageDefinition"),
        *("NamingSystem", "ObservationDefinition", "OperationDefinition", "PlanDefinition", "Questionnaire"),
        *("Requirements", "ResearchDefinition", "ResearchElementDefinition", "SearchParameter"),
        *("SpecimenDefinition", "StructureDefinition", "StructureMap", "SubscriptionTopic"),
        *("TerminologyCapabilities", "TestPlan", "TestScript", "ValueSet", "Contract", "ResearchStudy"),
    }
)
"""Types that other resources name by a canonical, which may end in `|version`."""


def normal_reference(text: str, base_urls: frozenset[str]) -> str:
    """`Patient/123` for a resource of this server, without version; any other reference without its version
    (R-405).
    """
    text = text.split("/_history/", 1)[0]
    for base in base_urls:
        if text.startswith(base.rstrip("/") + "/"):
            return text[len(base.rstrip("/")) + 1 :]
    return text


def parse_reference(text: str, targets: tuple[str, ...], base_urls: frozenset[str]) -> str:
    """The normal form of a search value.

    Raises BadValue for an id without type if the parameter has several target types, for a type that the
    parameter never refers to, and for an identifier, which would never match: `system|value` is the value of
    `:identifier`.
    """
    reference = normal_reference(unescape(text).strip(), base_urls)
    if not reference or reference.startswith("#"):
        raise BadValue("a reference is written Type/id, id or an absolute URL")
    if "|" in reference and (":" not in reference or (targets and CANONICAL_TYPES.isdisjoint(targets))):
        text = f"{reference!r} is an identifier, not a reference; use the modifier :identifier for it"
        raise BadValue(text)
    if ":" in reference:
        return reference
    type_name, slash, resource_id = reference.partition("/")
    if not slash:
        if not _ID.fullmatch(reference):
            raise BadValue(
                f"{reference!r} is not a reference: a resource id has letters, digits, '-' and '.'"
            )
        if len(targets) != 1:
            raise BadValue(f"{reference!r} does not say which type it is; write Type/{reference}")
        return f"{targets[0]}/{reference}"
    if not _ID.fullmatch(resource_id):
        raise BadValue(f"{reference!r} is not a reference: a resource id has letters, digits, '-' and '.'")
    if targets and type_name not in targets:
        raise BadValue(f"it never refers to {type_name}, only to {', '.join(targets)}")
    return reference


def reference_targets(parameter: SearchParameter) -> tuple[str, ...]:
    """The target types of a reference parameter. `resolve() is Patient` in its expression limits them
    (R-405).
    """
    narrowed = re.findall(r"resolve\(\) is (\w+)", parameter.expression)
    return tuple(dict.fromkeys(narrowed)) or parameter.targets


def referenced_type(value: object) -> str | None:
    """The resource type that a Reference, or the text of one, points at; None if it does not say."""
    declared: object = None
    if isinstance(value, dict):
        declared, value = value.get("type"), value.get("reference")
    if isinstance(value, str) and not value.startswith(("#", "urn:")):
        segments = value.split("/_history/")[0].split("/")
        if len(segments) > 1 and segments[-2][:1].isupper():
            return segments[-2]
    return declared.rsplit("/", 1)[-1] if isinstance(declared, str) else None


def has_unknown_type(value: object) -> bool:
    """Whether a Reference names its target by an identifier only and does not say the type.

    It may point at any type, so `resolve() is Patient` must not rule it out: `patient:identifier` finds it.
    """
    return isinstance(value, dict) and "identifier" in value and not {"reference", "type"} & value.keys()


def plain_reference(element: dict[str, Any]) -> dict[str, Any]:
    """The Reference inside a CodeableReference; any other element as it is."""
    inner = element.get("reference")
    return inner if isinstance(inner, dict) else element


def reference_text(element: Any) -> str | None:
    """The text of a Reference, CodeableReference, canonical or uri; None for a logical reference."""
    text = plain_reference(element).get("reference") if isinstance(element, dict) else element
    return text if isinstance(text, str) else None


def reference_test(
    text: str, modifier: Modifier | None, targets: tuple[str, ...], base_urls: frozenset[str]
) -> ElementTest:
    """The test for one alternative. Raises BadValue."""
    if modifier in {Modifier.TEXT, Modifier.CODE_TEXT}:
        return display_test(unescape(text))
    if modifier is Modifier.IDENTIFIER:
        is_identifier = token_test(text, None)

        def by_identifier(element: Any, resource: dict[str, Any]) -> bool:
            identifier = plain_reference(element).get("identifier") if isinstance(element, dict) else None
            return identifier is not None and is_identifier(identifier, resource)

        return by_identifier
    searched = parse_reference(text, targets, base_urls)

    def matches(element: Any, _: dict[str, Any]) -> bool:
        element_text = reference_text(element)
        if element_text is None:
            return False
        reference = normal_reference(element_text, base_urls)
        return reference == searched or is_version_of(reference, searched)

    return matches
