"""What in a Subscription is the server's and what stays the client's: the document as it came, byte by byte, but for a few members.

Across releases, what both have is carried over; what R5 alone has stands in R4 and R4B as a cross-version extension at the root
(R-081, R-131). Narrative goes along; contained resources and profiles are of one release and stay behind.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir import documents
from broker.fhir.elements import Elements
from broker.model.subscription import Subscription

_CROSS = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription."
_CROSSING: Mapping[str, tuple[str, bool]] = {
    "name": ("valueString", False),
    "identifier": ("valueIdentifier", True),
    "managingEntity": ("valueReference", False),
}
"""R5's own elements: the value of the extension that stands for each, and whether it repeats."""
_SHARED = ("language", "text", "contact")


def owned(document: bytes, subscription: Subscription, *, with_error: bool = False) -> bytes:
    """The document with what the server assigns: id, version, time, status; and the error in place of any the client sent (R-157)."""
    parts = documents.members(document)
    for name in ("status", "error", "_error"):
        parts.pop(name, None)
    parts["status"] = orjson.dumps(subscription.status)
    if with_error and subscription.error is not None:
        parts["error"] = orjson.dumps(subscription.error)
    head, tail = documents.split(documents.join(parts), type="Subscription", id=subscription.id)
    at = to_instant(subscription.updated_ms)
    return head + f'"versionId":"{subscription.version}","lastUpdated":"{at}"'.encode() + tail


def refuse_modifiers(elements: Elements) -> None:
    """An extension that changes what an element means can't be passed over, and the broker knows none."""
    for place in _modified(elements.values, ""):
        elements.refuse(
            "not-supported", "no modifier extension is understood here", f"{place}modifierExtension"
        )


def _modified(values: Mapping[str, Any], place: str) -> Iterator[str]:
    if "modifierExtension" in values:
        yield place
    for name, value in values.items():
        if isinstance(value, dict) and name != "contained":
            yield from _modified(value, f"{place}{name}.")
        elif isinstance(value, list) and name != "contained":
            for n, one in enumerate(value):
                if isinstance(one, dict):
                    yield from _modified(one, f"{place}{name}[{n}].")


def from_native(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an R5 document has beyond the neutral shape, as R4 and R4B say it."""
    extensions = list(document.get("extension", ()))
    for name, (value, repeats) in _CROSSING.items():
        if name in document:
            extensions += [
                {"url": _CROSS + name, value: one}
                for one in (document[name] if repeats else [document[name]])
            ]
    return _carried(document, extensions)


def to_native(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an R4 or R4B document has beyond the neutral shape, as R5 says it."""
    extensions, found = [], dict[str, Any]()
    for extension in document.get("extension", ()):
        name = extension.get("url", "").removeprefix(_CROSS)
        value, repeats = _CROSSING.get(name, ("", False))
        if not value or value not in extension or (name in found and not repeats):
            extensions.append(extension)
        elif repeats:
            found.setdefault(name, []).append(extension[value])
        else:
            found[name] = extension[value]
    return found | _carried(document, extensions)


def crossed_name(document: Mapping[str, Any]) -> str | None:
    """R5's `name` of an R4 or R4B document."""
    name = to_native(document).get("name")
    return name if isinstance(name, str) else None


def _carried(document: Mapping[str, Any], extensions: list[Any]) -> dict[str, Any]:
    carried = {name: document[name] for name in _SHARED if name in document}
    if extensions:
        carried["extension"] = extensions
    meta = {name: value for name, value in document.get("meta", {}).items() if name in {"tag", "security"}}
    return carried | ({"meta": meta} if meta else {})
