"""Writes a topic in the form of each release: SubscriptionTopic of R5 and R4B, and Basic of R4."""

from typing import Any

from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator
from broker.model.topic import Topic

_COMPARATORS = frozenset(Comparator)
_R4B_MODIFIERS = _COMPARATORS | {"=", "above", "below", "in", "not-in", "of-type"}
_R5_ONLY = ("name", "versionAlgorithmString", "versionAlgorithmCoding", "copyrightLabel")
_EXTENSION_PREFIX = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic."
_TYPE_CODES = "http://hl7.org/fhir/fhir-types"
BASIC_CODE = {"coding": [{"system": _TYPE_CODES, "code": "SubscriptionTopic"}]}
_VALUE_TYPES = {
    "url": "Uri",
    "resource": "Uri",
    "filterDefinition": "Uri",
    "date": "DateTime",
    "approvalDate": "Date",
    "lastReviewDate": "Date",
    "description": "Markdown",
    "purpose": "Markdown",
    "copyright": "Markdown",
    "derivedFrom": "Canonical",
    "status": "Code",
    "supportedInteraction": "Code",
    "comparator": "Code",
    "modifier": "Code",
    "resultForCreate": "Code",
    "resultForDelete": "Code",
    "experimental": "Boolean",
    "requireBoth": "Boolean",
    "identifier": "Identifier",
    "contact": "ContactDetail",
    "useContext": "UsageContext",
    "jurisdiction": "CodeableConcept",
    "event": "CodeableConcept",
    "effectivePeriod": "Period",
}
"""The data type of an element in R4's extension (`value[x]`); elements that are not listed are strings."""
_BASIC_ELEMENTS = frozenset({"resourceType", "id", "meta", "text", "status", "language", "contained"})
"""Elements of a topic that the Basic has itself, or leaves out."""


def render_r5(topic: Topic) -> Resource:
    if topic.release is Release.R5:
        return Resource(topic.document)
    document = Resource(topic.document).copy()
    for filter_definition in document.get("canFilterBy", ()):
        modifiers = filter_definition.pop("modifier", [])
        comparators = [code for code in modifiers if code in _COMPARATORS]
        others = [code for code in modifiers if code not in _COMPARATORS and code != "="]
        if comparators:
            filter_definition["comparator"] = comparators
        if others:
            filter_definition["modifier"] = others
    return Resource(json_text.encode(document))


def render_r4b(topic: Topic) -> Resource:
    if topic.release is Release.R4B:
        return Resource(topic.document)
    document = Resource(topic.document).copy()
    for name in _R5_ONLY:
        document.pop(name, None)
    for filter_definition in document.get("canFilterBy", ()):
        codes = filter_definition.pop("comparator", []) + filter_definition.pop("modifier", [])
        allowed = [code for code in codes if code in _R4B_MODIFIERS]
        if allowed:
            filter_definition["modifier"] = allowed
    return Resource(json_text.encode(document))


def render_basic(topic: Topic) -> Resource:
    """A Basic with an extension for each element; the status is a modifier extension (R-080).

    Extensions of the topic and of its elements stay as they are.
    """
    document = render_r5(topic).copy()
    extensions = document.pop("extension", [])
    extensions += [
        extension
        for name, value in document.items()
        if name not in _BASIC_ELEMENTS and not name.startswith("_")
        for extension in _extensions(name, value, _EXTENSION_PREFIX)
    ]
    status = {"url": f"{_EXTENSION_PREFIX}status", "valueCode": document["status"]}
    basic: dict[str, Any] = {"resourceType": "Basic", "id": document["id"]}
    if "meta" in document:
        basic["meta"] = document["meta"]
    basic |= {"extension": extensions, "modifierExtension": [status], "code": BASIC_CODE}
    return Resource(json_text.encode(basic))


def _extensions(name: str, value: Any, prefix: str = "") -> list[dict[str, Any]]:
    """An extension for each value of the element; those inside another have no prefix."""
    values = value if isinstance(value, list) else [value]
    return [_extension(name, each, prefix) for each in values]


def _extension(name: str, value: Any, prefix: str) -> dict[str, Any]:
    url = f"{prefix}{name}"
    if isinstance(value, dict) and name not in _VALUE_TYPES:
        elements = {key: each for key, each in value.items() if key != "extension"}
        parts = [part for key, each in elements.items() for part in _extensions(key, each)]
        return {"url": url, "extension": [*parts, *value.get("extension", ())]}
    return {"url": url, f"value{_VALUE_TYPES.get(name, 'String')}": value}
