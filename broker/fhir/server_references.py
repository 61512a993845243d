"""The references of a resource that another server has to know before the resource is written there.

Those that name a resource of this broker change with the place: `Patient/1` here may be `Patient/9f` there.
Logical references, an identifier without a `reference`, name the same everywhere; the server is asked for
what they mean to it. References to contained resources, URNs, and URLs of other servers stay. Pure; the
channel `fhir-write` calls it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from broker.fhir.identifiers import IdentifierToken
from broker.model import json_text
from broker.model.json_text import STRING
from broker.model.resource import JsonObject, Resource

_LOCAL = re.compile(r"([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_RELEASES = ("r4", "r4b", "r5")
_REFERENCE = re.compile(rb'("reference"\s*:\s*)(' + STRING + rb")")
"""A member `reference` with a string. In a JSON text, no string has these bytes: its quotes are escaped."""
_IDENTIFIER = re.compile(rb'"identifier"\s*:\s*\{')
_ESCAPE = b"\\u"
_LOGICAL_MEMBERS = frozenset({"identifier", "type", "display", "id", "extension", "_type", "_display"})
_TYPES = {"patient": "Patient", "device": "Device", "encounter": "Encounter"}
"""What a logical reference without a type refers to, by the element that has it."""


class LogicalReference(NamedTuple):
    """A reference by a business identifier that has a system."""

    type: str
    identifier: IdentifierToken

    @property
    def key(self) -> str:
        """Names it among references; no `Type/id` is spelled so."""
        return f"{self.type}?{self.identifier.system}|{self.identifier.value}"


class ReferenceReader:
    """`base_url` is the broker's own, without the path of a release: references below it are local too."""

    def __init__(self, base_url: str) -> None:
        self._bases = tuple(f"{base_url.rstrip('/')}/{release}/" for release in _RELEASES)

    def local(self, resource: Resource) -> dict[str, str]:
        """The texts of the references to resources of this broker, in their order -> `Type/id`."""
        found: dict[str, str] = {}
        for text in _texts(resource):
            target = self._target(text)
            if target:
                found[text] = target
        return found

    def _target(self, text: str) -> str:
        for base in self._bases:
            if text.startswith(base):
                text = text[len(base) :]
                break
        match = _LOCAL.fullmatch(text)
        return "" if match is None else match[1]


def with_references(resource: Resource, targets: Mapping[str, str]) -> Resource:
    """The resource with the texts of its references replaced. Everything else keeps its value, and in a text
    without escapes its spelling.
    """
    if not targets:
        return resource
    if _ESCAPE in resource.text:
        return Resource(json_text.encode(_replaced(json_text.decode_exact(resource.text), targets)))

    def replaced(match: re.Match[bytes]) -> bytes:
        target = targets.get(orjson.loads(match[2]))
        return match[0] if target is None else match[1] + orjson.dumps(target)

    return Resource(_REFERENCE.sub(replaced, resource.text))


def _replaced(value: Any, targets: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            name: targets.get(member, member)
            if name == "reference" and isinstance(member, str)
            else _replaced(member, targets)
            for name, member in value.items()
        }
    return [_replaced(item, targets) for item in value] if isinstance(value, list) else value


def _texts(resource: Resource) -> Iterator[str]:
    if _ESCAPE in resource.text:  # a name may be spelled with escapes
        return _references(resource.fields)
    return (orjson.loads(match[2]) for match in _REFERENCE.finditer(resource.text))


def _references(value: Any) -> Iterator[str]:
    """The texts of all References: the members `reference` that are strings, at any depth."""
    if isinstance(value, JsonObject):
        for name, member in value.items():
            if name == "reference" and isinstance(member, str):
                yield member
            else:
                yield from _references(member)
    elif isinstance(value, tuple):
        for item in value:
            yield from _references(item)


def logical_references(resource: Resource) -> list[LogicalReference]:
    """Those of the resource whose type is known, each once."""
    if _ESCAPE not in resource.text and _IDENTIFIER.search(resource.text) is None:
        return []
    return list(dict.fromkeys(_logical("", resource.fields)))


def with_logical_references(resource: Resource, found: Mapping[LogicalReference, str]) -> Resource:
    """The resource whose logical references have the `reference` that was found, too."""
    if not found:
        return resource
    document = json_text.decode_exact(resource.text)
    _add_references("", document, found)
    return Resource(json_text.encode(document))


def _logical(name: str, value: Any) -> Iterator[LogicalReference]:
    if isinstance(value, JsonObject):
        reference = _logical_reference(name, value)
        if reference is not None:
            yield reference
            return
        for inner, member in value.items():
            yield from _logical(inner, member)
    elif isinstance(value, tuple):
        for item in value:
            yield from _logical(name, item)


def _logical_reference(name: str, value: Mapping[str, Any]) -> LogicalReference | None:
    identifier, resource_type = value.get("identifier"), value.get("type", _TYPES.get(name))
    if not isinstance(identifier, Mapping) or not isinstance(resource_type, str):
        return None
    system, text = identifier.get("system"), identifier.get("value")
    is_logical = value.keys() <= _LOGICAL_MEMBERS and isinstance(system, str) and isinstance(text, str)
    if not is_logical or not system or not text:
        return None
    return LogicalReference(resource_type, IdentifierToken(system, text))


def _add_references(name: str, value: Any, found: Mapping[LogicalReference, str]) -> None:
    if isinstance(value, dict):
        reference = _logical_reference(name, value)
        if reference is not None:
            if reference in found:
                value["reference"] = found[reference]
            return
        for inner, member in value.items():
            _add_references(inner, member, found)
    elif isinstance(value, list):
        for item in value:
            _add_references(name, item, found)
