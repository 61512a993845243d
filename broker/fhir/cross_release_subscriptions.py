"""The elements of a Subscription that the neutral model lacks, as another release expresses them.

Elements that both releases have are copied. R5's own elements are cross-version extensions at the root in R4
and R4B (R-081, R-131). Narrative is kept. Contained resources and profiles belong to one release and are left
out.
"""

from collections.abc import Mapping
from typing import Any

from broker.model.resource import Resource

_URL_PREFIX = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription."
_R5_ELEMENTS: Mapping[str, tuple[str, bool]] = {
    "name": ("valueString", False),
    "identifier": ("valueIdentifier", True),
    "managingEntity": ("valueReference", False),
}
"""R5's own elements: the value of the extension that stands for each, and whether it repeats."""
_SHARED_ELEMENTS = ("language", "text", "contact")


def elements_for_r4(document: Resource) -> dict[str, Any]:
    """The elements of an R5 document that the neutral model lacks, as R4 and R4B express them."""
    fields = document.copy()
    extensions = list(fields.get("extension", ()))
    for name, (value_name, repeats) in _R5_ELEMENTS.items():
        if name in fields:
            values = fields[name] if repeats else [fields[name]]
            extensions += [{"url": _URL_PREFIX + name, value_name: value} for value in values]
    return _shared(fields, extensions)


def elements_for_r5(document: Resource) -> dict[str, Any]:
    """The elements of an R4 or R4B document that the neutral model lacks, as R5 expresses them."""
    fields = document.copy()
    extensions: list[Any] = []
    restored: dict[str, Any] = {}
    for extension in fields.get("extension", ()):
        name = extension.get("url", "").removeprefix(_URL_PREFIX)
        value_name, repeats = _R5_ELEMENTS.get(name, ("", False))
        if not value_name or value_name not in extension or (name in restored and not repeats):
            extensions.append(extension)
        elif repeats:
            restored.setdefault(name, []).append(extension[value_name])
        else:
            restored[name] = extension[value_name]
    return restored | _shared(fields, extensions)


def r5_name(document: Resource) -> str | None:
    """R5's `name` in the extension of an R4 or R4B document."""
    for extension in document.fields.get("extension", ()):
        if extension.get("url") == f"{_URL_PREFIX}name" and "valueString" in extension:
            name = extension["valueString"]
            return name if isinstance(name, str) else None
    return None


def _shared(fields: Mapping[str, Any], extensions: list[Any]) -> dict[str, Any]:
    shared = {name: fields[name] for name in _SHARED_ELEMENTS if name in fields}
    if extensions:
        shared["extension"] = extensions
    meta = {name: value for name, value in fields.get("meta", {}).items() if name in {"tag", "security"}}
    return shared | ({"meta": meta} if meta else {})
