"""Extensions, wherever they are in a resource: the definition of each, and where it says that it may be.

An extension without a known definition is permitted. Contexts that are FHIRPath or name a profile say
nothing here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from broker.fhir.element_tables import Element
from broker.model.release import Release
from broker.profiles.base_checks import Check
from broker.profiles.definitions import objects
from broker.profiles.found import Found
from broker.profiles.trees import find_table

_LISTS = ("extension", "modifierExtension")
_RESOURCES = ("Resource", "DomainResource", "CanonicalResource", "MetadataResource")
_QUANTITIES = frozenset({"Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"})


class ExtensionRules(NamedTuple):
    """What a definition says of the whole extension. `elements` are the elements that may have it, and
    `extensions` the URLs of extensions; both are None if the definition does not limit it in a way that can
    be decided.
    """

    check: Check | None
    elements: frozenset[str] | None
    extensions: frozenset[str]
    is_modifier: bool


class Extensions(Protocol):
    """Knows the definitions of extensions (`library.ProfileLibrary`)."""

    def extension(self, url: str) -> ExtensionRules | None:
        """None for an extension without a known definition."""
        ...


def check_extensions(
    extensions: Extensions, release: Release, resource: Mapping[str, Any], path: str, found: Found
) -> None:
    """All extensions of a resource, also of the resources within it."""
    _Walk(extensions, release, found).resource(resource, path)


class _Walk:
    """One walk through a resource. `places` are the names of an element by which contexts may call it: from
    the resource and from each datatype on the way.
    """

    def __init__(self, extensions: Extensions, release: Release, found: Found) -> None:
        self._extensions = extensions
        self._release = release
        self._found = found

    def resource(self, resource: Mapping[str, Any], path: str) -> None:
        name = str(resource.get("resourceType"))
        self._members(resource, name, {name, *_RESOURCES}, path)

    def _members(self, owner: Mapping[str, Any], type_name: str, places: set[str], path: str) -> None:
        table = find_table(self._release, type_name)
        for name, child in owner.items():
            bare = name.removeprefix("_")
            if bare in _LISTS:
                self._list(bare, child, places, "", path)
            elif isinstance(child, dict | list):
                element = table.elements.get(bare) if table is not None else None
                self._child(child, element, _places_of(bare, element, places), f"{path}.{bare}")

    def _child(self, value: Any, element: Element | None, places: set[str], path: str) -> None:
        if isinstance(value, list):
            for n, item in enumerate(value):
                self._child(item, element, places, f"{path}[{n}]")
        elif isinstance(value, dict):
            if "resourceType" in value:
                self.resource(value, path)
            else:
                self._members(value, element.type_name if element is not None else "", places, path)

    def _list(self, name: str, extensions: Any, places: set[str], owner_url: str, path: str) -> None:
        for n, extension in enumerate(extensions if isinstance(extensions, list) else ()):
            if not isinstance(extension, dict):
                continue
            at, url = f"{path}.{name}[{n}]", str(extension.get("url"))
            if ":" not in url and not owner_url:
                self._found.add("value", f"{at}.url", "the URL of an extension is absolute")
            rules = self._extensions.extension(url) if "/" in url else None
            if rules is not None:
                self._check(rules, extension, name, places, owner_url, at)
            inner = url if "/" in url else f"{owner_url}#{url}"
            for child_name, child in extension.items():
                if child_name == "extension":
                    self._list(child_name, child, {"Extension"}, inner, at)
                elif isinstance(child, dict | list):
                    self._members({child_name: child}, "Extension", {"Extension"}, at)

    def _check(
        self,
        rules: ExtensionRules,
        extension: Mapping[str, Any],
        name: str,
        places: set[str],
        owner_url: str,
        path: str,
    ) -> None:
        if rules.check is not None:
            rules.check(extension, path, self._found)
        if rules.elements is not None and not (
            rules.elements & places or owner_url.partition("#")[0] in rules.extensions
        ):
            listed = ", ".join(sorted(rules.elements | rules.extensions))
            self._found.add("structure", path, f"this extension is only permitted in {listed}")
        if rules.is_modifier != (name == "modifierExtension"):
            words = "belongs into modifierExtension" if rules.is_modifier else "is no modifier"
            self._found.add("structure", path, f"this extension {words}, by its definition")


def _places_of(name: str, element: Element | None, places: set[str]) -> set[str]:
    """The names of a child."""
    names = {name}
    if element is not None and element.choice:
        names |= {element.choice, f"{element.choice}[x]"}
    found = {f"{place}.{each}" for place in places for each in names}
    if element is not None:
        found.add(element.type_name)
        if element.type_name in _QUANTITIES:
            found.add("Quantity")
    return found


def extension_rules(fields: Mapping[str, Any], check: Check | None) -> ExtensionRules:
    """Of a StructureDefinition. Raises `BadDefinition`."""
    elements: set[str] = set()
    extensions: set[str] = set()
    is_open = not fields.get("context")
    for context in objects(fields, "context"):
        kind, expression = str(context.get("type")), str(context.get("expression"))
        if kind == "extension":
            extensions.add(expression.partition("#")[0])
        elif kind != "element" or expression in {"Element", "Base"} or "/" in expression:
            is_open = True
        else:
            elements.add(expression)
    root: Mapping[str, Any] = {}
    for name in ("differential", "snapshot"):
        part = fields.get(name)
        for each in objects(part, "element")[:1] if isinstance(part, dict) else ():
            root = {**root, **each} if each.get("path") == "Extension" else root
    is_modifier = root.get("isModifier") is True
    return ExtensionRules(check, None if is_open else frozenset(elements), frozenset(extensions), is_modifier)
