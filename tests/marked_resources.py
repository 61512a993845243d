"""Resources that are full of markers: every element that may have text of its own has it.

The element tables of the broker say which those are. Where a choice has several types, several resources of a
type together have them all. Identifiers have a marker of their own, since the store searches by them.
"""

import base64
from collections.abc import Iterator
from typing import Any

from broker.fhir.element_tables import NESTED, Element, ElementTable, table_of_type
from broker.fhir.required_codes import REQUIRED_CODES
from broker.model.release import Release

MAX_DEPTH = 3
"""How deep data types are filled inside of each other; backbone elements are filled at any depth."""
_TEXTS = frozenset({"string", "markdown", "id"})
_URIS = frozenset({"uri", "url", "canonical"})
_FIXED: dict[str, object] = {
    "boolean": True,
    "integer": 1,
    "unsignedInt": 1,
    "positiveInt": 1,
    "integer64": "1",
    "decimal": 1,
    "date": "2025-01-02",
    "dateTime": "2025-01-02T03:04:05Z",
    "instant": "2025-01-02T03:04:05Z",
    "time": "03:04:05",
    "oid": "urn:oid:1.2",
    "uuid": "urn:uuid:9e1ff8ee-8d2c-4c0b-9f3b-5d34ff2c0b5a",
}
_LEFT_OUT = frozenset({"id", "extension", "modifierExtension"})
_LEFT_OUT_OF_RESOURCES = _LEFT_OUT | {"meta", "implicitRules", "language", "contained"}
"""`extension` and `contained` are added as a whole."""


class Marked:
    """Makes resources of a release with the marker in their texts."""

    def __init__(self, release: Release, marker: str, identifier: str) -> None:
        self._release = release
        self._marker = marker
        self._identifier = identifier

    def resources(self, resource_type: str, **fixed: Any) -> Iterator[dict[str, Any]]:
        """As many resources as the longest choice of the type has alternatives; `fixed` replaces elements."""
        table = table_of_type(self._release, resource_type)
        groups = [len(group) for group in _choices(table).values()]
        for n in range(max(groups, default=1)):
            resource = {"resourceType": resource_type, **self._elements(table, n, 0)}
            resource["contained"] = [{"resourceType": "Basic", "id": "c", "code": {"text": self._marker}}]
            if n == 0:
                resource["extension"] = list(self._extensions())
            yield resource | fixed

    def _extensions(self) -> Iterator[dict[str, Any]]:
        """One for each type that an extension may have."""
        for element in _choices(table_of_type(self._release, "Extension"))["value"]:
            if element.type_name != "Meta":
                value = self._value(element, "Extension", 0, 1)
                yield {"url": f"http://example.org/{self._marker}", element.name: value}

    def _elements(self, table: ElementTable, n: int, depth: int) -> dict[str, Any]:
        choices = _choices(table).values()
        not_chosen = {
            element.name for group in choices for element in group if element != group[n % len(group)]
        }
        left_out = not_chosen | (_LEFT_OUT_OF_RESOURCES if table.is_resource else _LEFT_OUT)
        return {
            name: [value] if element.is_list else value
            for name, element in table.elements.items()
            if name not in left_out and (value := self._value(element, table.type, n, depth)) is not None
        }

    def _value(self, element: Element, owner: str, n: int, depth: int) -> Any:
        """None for an element that is left out."""
        if element.is_primitive:
            return self._primitive(element, owner)
        if element.type_name in {NESTED, "Extension"}:
            return None
        if element.type_name == "Narrative":
            return {"status": "generated", "div": self._div()}
        table = table_of_type(self._release, element.type_name)
        is_backbone = "modifierExtension" in table.elements and element.type_name.startswith(owner)
        if not is_backbone and depth >= MAX_DEPTH and not element.is_required:
            return None
        return self._elements(table, n, depth + (not is_backbone)) or None

    def _primitive(self, element: Element, owner: str) -> object:
        if element.type_name == "code":
            codes = REQUIRED_CODES[self._release].get(owner, {}).get(element.name)
            return self._marker if codes is None else min(codes)
        if (owner, element.name) == ("Identifier", "value"):
            return self._identifier
        if (owner, element.name) == ("Identifier", "system"):
            return f"urn:{self._identifier}"
        if (owner, element.name) == ("Reference", "reference"):
            return "Patient/ana"
        if element.type_name in _TEXTS:
            return self._marker
        if element.type_name in _URIS:
            return "Patient" if (owner, element.name) == ("Reference", "type") else f"urn:{self._marker}"
        if element.type_name == "base64Binary":
            return base64.b64encode(self._marker.encode()).decode()
        if element.type_name == "xhtml":
            return self._div()
        return _FIXED[element.type_name]

    def _div(self) -> str:
        return f'<div xmlns="http://www.w3.org/1999/xhtml">{self._marker}</div>'


def _choices(table: ElementTable) -> dict[str, list[Element]]:
    """The elements of which a resource has one. `dataAbsentReason` stands in the place of a value (obs-6)."""
    groups: dict[str, list[Element]] = {}
    for element in table.elements.values():
        choice = "value" if element.name == "dataAbsentReason" else element.choice
        if choice:
            groups.setdefault(choice, []).append(element)
    return groups
