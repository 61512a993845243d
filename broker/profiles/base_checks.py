"""Checks that hold for every resource of a type, whatever its profile.

Three tables restate the definitions of types: `base_types.tsv` required codes and reference targets,
`base_rules.tsv` invariants that are functions here, and `base_invariants.tsv` those that are evaluated as
FHIRPath. Only types that have a rule somewhere below them are walked. The structure (which elements exist,
how often, of what primitive type) was checked before, by `fhir.validation`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from broker.errors import BrokerError
from broker.fhir.element_tables import NESTED, Element, ElementTable
from broker.model.release import Release
from broker.profiles.coded_values import membership
from broker.profiles.found import Found
from broker.profiles.invariants import INVARIANTS
from broker.profiles.trees import find_table
from broker.profiles.values import referenced_type

Check = Callable[[Any, str, Found], None]
"""Checks a value that is present, at its path."""
Evaluate = Callable[[Any, Mapping[str, Any]], bool]
"""Whether an invariant holds for an element of a resource. Raises `BrokerError` if that can't be said."""
CompileInvariant = Callable[[str, Release, str], Evaluate]
"""Compiles FHIRPath for elements of a type or path. Raises `BrokerError`."""

_EXTENSIONS = ("extension", "modifierExtension")
_SELF = "."


class _Part(NamedTuple):
    """An element that has rules, and its checks."""

    name: str
    is_list: bool
    checks: tuple[Check, ...]


class BaseChecks:
    """The rules of the types of one release. The check of a type is made when it is first needed."""

    def __init__(self, release: Release, compile_invariant: CompileInvariant) -> None:
        self._release = release
        self._compile_invariant = compile_invariant
        self._checks: dict[str, Check | None] = {}
        self._in_progress: set[str] = set()

    def check_resource(self, found: Found, path: str) -> None:
        """Adds what is wrong with the resource by the definition of its type."""
        resource = found.resource
        name = resource.get("resourceType")
        if not isinstance(name, str):
            return
        check = self._type_check(name)
        if check is not None:
            check(resource, path, found)
        if "contained" in resource:
            for key in ("dom-3", "dom-4", "dom-5"):
                invariant, text = INVARIANTS[key]
                if not invariant(resource, found):
                    found.add("invariant", path, f"{text} ({key})")

    def check_extension_values(self, value: Any, path: str, found: Found) -> None:
        """The values of all extensions, at any depth: anything may have one."""
        if isinstance(value, list):
            for n, item in enumerate(value):
                self.check_extension_values(item, f"{path}[{n}]", found)
        elif isinstance(value, dict):
            for name, child in value.items():
                if isinstance(child, dict | list):
                    self.check_extension_values(child, f"{path}.{name}", found)
                if name in _EXTENSIONS and isinstance(child, list):
                    for n, extension in enumerate(child):
                        self._check_extension_value(extension, f"{path}.{name}[{n}]", found)

    def _check_extension_value(self, extension: Any, path: str, found: Found) -> None:
        table = find_table(self._release, "Extension")
        if table is None or not isinstance(extension, dict):
            return
        for name, value in extension.items():
            element = table.elements.get(name)
            if element is not None and element.choice and element.has_elements:
                check = self._type_check(element.type_name)
                if check is not None:
                    check(value, f"{path}.{name}", found)

    def _type_check(self, type_name: str) -> Check | None:
        """The check of a value of the type; None if no rule concerns it."""
        if type_name not in self._checks:
            table = find_table(self._release, type_name)
            self._in_progress.add(type_name)
            self._checks[type_name] = None if table is None else self._make_check(table)
            self._in_progress.discard(type_name)
        return self._checks[type_name]

    def _make_check(self, table: ElementTable) -> Check | None:
        rules, type_name = _rules(self._release), table.type
        own = [_invariant(key) for key in rules.get((type_name, _SELF, "invariant"), ())]
        own += self._expressions(type_name, _SELF)
        parts: list[_Part] = []
        for name, element in table.elements.items():
            checks = [*_element_checks(rules, table, element), *self._expressions(type_name, name)]
            inner = self._inner_check(element)
            if inner is not None:
                checks.append(inner)
            if checks:
                parts.append(_Part(name, element.is_list, tuple(checks)))
        return _object_check(tuple(own), tuple(parts)) if own or parts else None

    def _inner_check(self, element: Element) -> Check | None:
        """An element whose type is being made is checked by name, when it is met."""
        if not element.has_elements or element.type_name in {"Extension", NESTED}:
            return None
        if element.type_name in self._in_progress:
            return self._deferred(element.type_name)
        return self._type_check(element.type_name)

    def _deferred(self, type_name: str) -> Check:
        def check(value: Any, path: str, found: Found) -> None:
            inner = self._type_check(type_name)
            if inner is not None:
                inner(value, path, found)

        return check

    def _expressions(self, type_name: str, element: str) -> Sequence[Check]:
        checks = []
        for each in _base_invariants(self._release).get((type_name, element), ()):
            try:
                evaluate = self._compile_invariant(each.expression, self._release, each.path)
            except BrokerError:
                continue  # what the engine cannot evaluate refuses nothing
            checks.append(_expression_check(each, evaluate))
        return checks


class _BaseInvariant(NamedTuple):
    """A row of the table. `path` names the element for FHIRPath."""

    key: str
    path: str
    expression: str


def _expression_check(rule: _BaseInvariant, evaluate: Evaluate) -> Check:
    text = f"the invariant {rule.key} does not hold: {rule.expression}"

    def check(value: Any, path: str, found: Found) -> None:
        try:
            holds = evaluate(value, found.resource)
        except BrokerError:
            return
        if not holds:
            found.add("invariant", path, text)

    return check


def _object_check(own: Sequence[Check], parts: Sequence[_Part]) -> Check:
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
    concepts = rules.get((table.type, element.name, "concepts"))
    if concepts:
        checks.append(_concepts_check(concepts))
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


def _concepts_check(concepts: Sequence[str]) -> Check:
    codes = frozenset((system, code) for system, _, code in (each.partition("|") for each in concepts))
    is_member = membership(codes)
    text = f"no code is one of {', '.join(sorted(code for _, code in codes))}, of the system required here"

    def check(value: Any, path: str, found: Found) -> None:
        if not is_member(value):
            found.add("code-invalid", path, text)

    return check


def _check_absolute(value: Any, path: str, found: Found) -> None:
    if isinstance(value, str) and ":" not in value:
        found.add("value", path, "the system is not an absolute URI")


def _targets_check(targets: frozenset[str]) -> Check:
    listed = ", ".join(sorted(targets))

    def check(value: Any, path: str, found: Found) -> None:
        nested = value.get("reference") if isinstance(value, dict) else None
        target = target_type(nested if isinstance(nested, dict) else value, found)
        if target and target not in targets:
            found.add("structure", path, f"a reference to {target} is not permitted here, only to {listed}")

    return check


def target_type(reference: Any, found: Found) -> str:
    """The type that a Reference refers to, also in the same resource or Bundle; '' if that is not known."""
    target = found.target(reference) if found.has_neighbours else None
    if target is not None:
        name = target.get("resourceType")
        return name if isinstance(name, str) else ""
    return referenced_type(reference) if isinstance(reference, dict) else ""


@cache
def _rules(release: Release) -> Mapping[tuple[str, str, str], Sequence[str]]:
    """The rows of the tables: type, element and rule -> values."""
    rules: dict[tuple[str, str, str], list[str]] = {}
    for file in ("base_rules.tsv", "base_types.tsv"):
        for type_name, element, rule, values in _rows(file, release):
            rules.setdefault((type_name, element, rule), []).extend(values.split(" "))
    return rules


@cache
def _base_invariants(release: Release) -> Mapping[tuple[str, str], Sequence[_BaseInvariant]]:
    """By type and element."""
    rules: dict[tuple[str, str], list[_BaseInvariant]] = {}
    for type_name, element, key, path, expression in _rows("base_invariants.tsv", release):
        rules.setdefault((type_name, element), []).append(_BaseInvariant(key, path, expression))
    return rules


def _rows(file: str, release: Release) -> Sequence[list[str]]:
    lines = (files("broker.profiles") / file).read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    return [row[1:] for row in rows if release.name in row[0].split(" ")]
