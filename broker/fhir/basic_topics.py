"""Reads R4's form of a SubscriptionTopic: a Basic with an extension for each element of R5 (R-080)."""

import re
from typing import Any

from broker.errors import Issue, Unprocessable
from broker.fhir.json_values import objects
from broker.model import json_text
from broker.model.resource import Resource

_URL = re.compile(
    r"http://hl7\.org/fhir/(?:5\.0|4\.3)/StructureDefinition/extension-SubscriptionTopic\.([A-Za-z.]+)"
)
_HL7 = "http://hl7.org/fhir/"
_TYPE_SYSTEM = "http://hl7.org/fhir/fhir-types"
_TOPIC_CODE = "SubscriptionTopic"
_REPEATING = frozenset(
    {
        *("identifier", "derivedFrom", "contact", "useContext", "jurisdiction"),
        *("resourceTrigger", "eventTrigger", "canFilterBy", "notificationShape"),
        *("supportedInteraction", "comparator", "modifier", "include", "revInclude"),
    }
)


_KEPT = ("id", "meta", "text", "language", "contained")
"""Elements that a Basic and a SubscriptionTopic both have."""


def is_topic(resource: Resource) -> bool:
    """Whether a Basic is coded as a SubscriptionTopic."""
    for concept in objects(resource.fields.get("code")):
        for coding in objects(concept.get("coding")):
            if coding.get("code") == _TOPIC_CODE and coding.get("system") in {None, _TYPE_SYSTEM}:
                return True
    return False


def topic_of_basic(resource: Resource) -> Resource:
    """The SubscriptionTopic in R5's form. Raises `Unprocessable` with the extension that is not supported."""
    basic = resource.copy()
    topic: dict[str, Any] = {"resourceType": "SubscriptionTopic"}
    topic |= {name: basic[name] for name in _KEPT if name in basic}
    for name in ("modifierExtension", "extension"):
        values = basic.get(name, [])
        for n, extension in enumerate(values if isinstance(values, list) else [values]):
            element = f"Basic.{name}[{n}]"
            if name == "extension" and _is_foreign(extension):
                topic.setdefault("extension", []).append(extension)
                continue
            url = _URL.fullmatch(str(extension.get("url"))) if isinstance(extension, dict) else None
            if url is None:
                text = f"{element} is not an extension for an element of SubscriptionTopic"
                raise Unprocessable(Issue("extension", text, f"{element}.url"))
            _add(topic, url[1], extension, element)
    return Resource(json_text.encode(topic))


def _is_foreign(extension: Any) -> bool:
    """Whether it is an extension of the topic itself, which no element of SubscriptionTopic is behind."""
    url = extension.get("url") if isinstance(extension, dict) else None
    return isinstance(url, str) and bool(url) and not url.startswith(_HL7)


def _add(parent: dict[str, Any], name: str, extension: dict[str, Any], element: str) -> None:
    value = _value(extension, element)
    if name in _REPEATING:
        parent.setdefault(name, []).append(value)
    elif name in parent:
        raise Unprocessable(Issue("structure", f"{element}: {name} is allowed once", element))
    else:
        parent[name] = value


def _value(extension: dict[str, Any], element: str) -> Any:
    parts = extension.get("extension")
    values = [value for key, value in extension.items() if key.startswith("value")]
    if isinstance(parts, list) and not values:
        value: dict[str, Any] = {}
        for n, part in enumerate(parts):
            part_element = f"{element}.extension[{n}]"
            url = part.get("url") if isinstance(part, dict) else None
            if not isinstance(url, str) or not url:
                text = f"{part_element} has no url"
                raise Unprocessable(Issue("structure", text, f"{part_element}.url"))
            if "/" in url and _URL.fullmatch(url) is None:  # an extension of the element itself
                value.setdefault("extension", []).append(part)
                continue
            _add(value, url.rpartition(".")[2] if "/" in url else url, part, part_element)
        return value
    if len(values) != 1:
        raise Unprocessable(Issue("structure", f"{element} must have exactly one value", element))
    return values[0]
