"""R4's form of a SubscriptionTopic: a Basic whose extensions hold the elements of the R5 resource (R-080), read back into it."""

import re
from typing import Any

import orjson

from broker.errors import Issue, Unprocessable
from broker.fhir.documents import parse

_URL = re.compile(
    r"http://hl7\.org/fhir/(?:5\.0|4\.3)/StructureDefinition/extension-SubscriptionTopic\.([A-Za-z.]+)"
)
_TYPES = "http://hl7.org/fhir/fhir-types"
_CODES = "SubscriptionTopic"
_REPEATING = frozenset(
    {
        *("identifier", "derivedFrom", "contact", "useContext", "jurisdiction"),
        *("resourceTrigger", "eventTrigger", "canFilterBy", "notificationShape"),
        *("supportedInteraction", "comparator", "modifier", "include", "revInclude"),
    }
)


def is_topic(body: bytes) -> bool:
    """Whether a Basic is coded as a SubscriptionTopic."""
    code = parse(body).get("code")
    codings = code.get("coding", []) if isinstance(code, dict) else []
    return any(
        isinstance(one, dict) and one.get("code") == _CODES and one.get("system") in {None, _TYPES}
        for one in (codings if isinstance(codings, list) else [])
    )


def topic_of_basic(body: bytes) -> bytes:
    """The SubscriptionTopic in R5's form. Raises `Unprocessable` naming the extension that isn't understood."""
    basic = parse(body)
    topic: dict[str, Any] = {"resourceType": "SubscriptionTopic"}
    topic |= {name: basic[name] for name in ("id", "meta", "text", "language", "contained") if name in basic}
    for where in ("modifierExtension", "extension"):
        given = basic.get(where, [])
        for n, extension in enumerate(given if isinstance(given, list) else [given]):
            place = f"Basic.{where}[{n}]"
            found = _URL.fullmatch(str(extension.get("url"))) if isinstance(extension, dict) else None
            if found is None:
                raise Unprocessable(
                    Issue("extension", f"{place} is no extension of SubscriptionTopic", f"{place}.url")
                )
            _add(topic, found[1], extension, place)
    return orjson.dumps(topic)


def _add(into: dict[str, Any], name: str, extension: dict[str, Any], place: str) -> None:
    value = _value(extension, place)
    if name in _REPEATING:
        into.setdefault(name, []).append(value)
    elif name in into:
        raise Unprocessable(Issue("structure", f"{place}: {name} is there twice", place))
    else:
        into[name] = value


def _value(extension: dict[str, Any], place: str) -> Any:
    parts = extension.get("extension")
    values = [value for key, value in extension.items() if key.startswith("value")]
    if isinstance(parts, list) and not values:
        element: dict[str, Any] = {}
        for n, part in enumerate(parts):
            inner = f"{place}.extension[{n}]"
            url = part.get("url") if isinstance(part, dict) else None
            if not isinstance(url, str) or not url:
                raise Unprocessable(Issue("structure", f"{inner} has no url", f"{inner}.url"))
            _add(element, url.rpartition(".")[2] if "/" in url else url, part, inner)
        return element
    if len(values) != 1:
        raise Unprocessable(Issue("structure", f"{place} has no value", place))
    return values[0]
