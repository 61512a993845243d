"""Checks that hold for every resource of a type, whatever its profile.

`base_rules.tsv` restates invariants, required codes and reference targets of the definitions of types. Only
types that have a rule somewhere below them are walked. The structure (which elements exist, how often, of
what primitive type) was checked before, by `fhir.validation`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from broker.fhir.element_tables import Element, ElementTable
from broker.model.release import Release
from broker.profiles.found import Found
from broker.profiles.invariants import INVARIANTS
from broker.profiles.trees import find_table
from broker.profiles.values import referenced_type

Check = Callable[[Any, str, Found], None]
"""Checks a value that is present, at its path."""

_EXTENSIONS = ("extension", "modifierExtension")
_SELF = "."


def check_resource(release: Release, found: Found, path: str) -> None:
    """Adds what is wrong with the resource by the definition of its type."""
    resource = found.resource
    name = resource.get("resourceType")
    if not isinstance(name, str):
        return
    check = type_check(release, name)
    if check is not None:
        check(resource, path, found)
    if "contained" in resource:
        _check_contained(release, found, path)


def _check_contained(release: Release, found: Found, path: str) -> None:
    for key in ("dom-3", "dom-4", "dom-5"):
        invariant, text = INVARIANTS[key]
        if not invariant(found.resource, found):
            found.add("invariant", path, f"{text} ({key})")
    for n, contained in enumerate(found.resource["contained"]):
        name = contained.get("resourceType") if isinstance(contained, dict) else None
        check = type_check(release, name) if isinstance(name, str) else None
        if check is not None:
            check(contained, f"{path}.contained[{n}]", found)


def check_extensions(release: Release, value: Any, path: str, found: Found) -> None:
    """The values of all extensions, at any depth: anything may have one."""
    if isinstance(value, list):
        for n, item in enumerate(value):
            check_extensions(release, item, f"{path}[{n}]", found)
    elif isinstance(value, dict):
        for name, child in value.items():
            if isinstance(child, dict | list):
                check_extensions(release, child, f"{path}.{name}", found)
            if name in _EXTENSIONS and isinstance(child, list):
                for n, extension in enumerate(child):
                    _check_extension_value(release, extension, f"{path}.{name}[{n}]", found)


def _check_extension_value(release: Release, extension: Any, path: str, found: Found) -> None:
    table = find_table(release, "Extension")
    if table is None or not isinstance(extension, dict):
        return
    for name, value in extension.items():
        element = table.elements.get(name)
        if element is not None and element.choice and element.has_elements:
            check = type_check(release, element.type_name)
            if check is not None:
                check(value, f"{path}.{name}", found)


@cache
def type_check(release: Release, type_name: str) -> Check | None:
    """The check of a value of the type; None if no rule concerns it."""
    table = find_table(release, type_name)
    if table is None:
        return None
    _in_progress.add((release, type_name))
    try:
        return _make_check(release, table)
    finally:
        _in_progress.discard((release, type_name))


def _make_check(release: Release, table: ElementTable) -> Check | None:
    rules, type_name = _rules(release), table.type
    own = [_invariant(key) for key in rules.get((type_name, _SELF, "invariant"), ())]
    parts: list[tuple[str, bool, Sequence[Check]]] = []
    for name, element in table.elements.items():
        checks = [*_element_checks(rules, table, element)]
        inner = _inner_check(release, element)
        if inner is not None:
            checks.append(inner)
        if checks:
            parts.append((name, element.is_list, tuple(checks)))
    if not own and not parts:
        return None
    return _object_check(tuple(own), tuple(parts))


_in_progress: set[tuple[Release, str]] = set()
"""The types whose checks are being made: an element of such a type is checked by name, when it is met."""


def _inner_check(release: Release, element: Element) -> Check | None:
    if not element.has_elements or element.type_name == "Extension":
        return None
    if (release, element.type_name) in _in_progress:
        return _deferred(release, element.type_name)
    return type_check(release, element.type_name)


def _deferred(release: Release, type_name: str) -> Check:
    def check(value: Any, path: str, found: Found) -> None:
        inner = type_check(release, type_name)
        if inner is not None:
            inner(value, path, found)

    return check


def _object_check(own: Sequence[Check], parts: Sequence[tuple[str, bool, Sequence[Check]]]) -> Check:
    def check(value: Any, path: str, found: Found) -> None:
        for rule in own:
            rule(value, path, found)
        for name, is_list, checks in parts:
            if name not in value:
                continue
            child = value[name]
            if is_list:
                for n, item in enumerate(child):
                    for rule in checks:
                        rule(item, f"{path}.{name}[{n}]", found)
            else:
                for rule in checks:
                    rule(child, f"{path}.{name}", found)

    return check


def _element_checks(
    rules: Mapping[tuple[str, str, str], Sequence[str]], table: ElementTable, element: Element
) -> Sequence[Check]:
    checks = [_invariant(key) for key in rules.get((table.type, element.name, "invariant"), ())]
    codes = rules.get((table.type, element.name, "codes"))
    if codes:
        checks.append(_codes_check(frozenset(codes)))
    if (table.type, element.name, "absolute") in rules:
        checks.append(_check_absolute)
    targets = rules.get((table.type, element.name, "targets"))
    if targets:
        checks.append(_targets_check(frozenset(targets)))
    return checks


def _invariant(key: str) -> Check:
    function, text = INVARIANTS[key]

    def check(value: Any, path: str, found: Found) -> None:
        if not function(value, found):
            found.add("invariant", path, f"{text} ({key})")

    return check


def _codes_check(codes: frozenset[str]) -> Check:
    text = f"the code is not one of {', '.join(sorted(codes))}"

    def check(value: Any, path: str, found: Found) -> None:
        if isinstance(value, str) and value not in codes:
            found.add("code-invalid", path, text)

    return check


def _check_absolute(value: Any, path: str, found: Found) -> None:
    if isinstance(value, str) and ":" not in value:
        found.add("value", path, "the system is not an absolute URI")


def _targets_check(targets: frozenset[str]) -> Check:
    listed = ", ".join(sorted(targets))

    def check(value: Any, path: str, found: Found) -> None:
        target = target_type(value, found)
        if target and target not in targets:
            found.add("structure", path, f"a reference to {target} is not permitted here, only to {listed}")

    return check


def target_type(reference: Any, found: Found) -> str:
    """The type that a Reference refers to, also a contained one; '' if that is not known."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    if isinstance(text, str) and text.startswith("#"):
        contained = found.contained(text)
        name = contained.get("resourceType") if contained is not None else None
        return name if isinstance(name, str) else ""
    return referenced_type(reference) if isinstance(reference, dict) else ""


@cache
def _rules(release: Release) -> Mapping[tuple[str, str, str], Sequence[str]]:
    """The rows of the table: type, element and rule -> values."""
    lines = (files("broker.profiles") / "base_rules.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rules: dict[tuple[str, str, str], Sequence[str]] = {}
    for line in lines:
        releases, type_name, element, rule, values = line.split("\t")
        if release.name in releases.split(" "):
            rules[type_name, element, rule] = values.split(" ")
    return rules
