"""The rules of one value that depend on other definitions: bindings, profiles of types, targets, invariants.

What the definition of the type says already (`base_checks.py`, `fhir.validation`) is left out, although
snapshots repeat it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from broker.errors import BrokerError
from broker.fhir.element_tables import NESTED
from broker.model.release import Release
from broker.profiles.base_checks import Check, CompileInvariant
from broker.profiles.bindings import binding_check
from broker.profiles.coded_values import CODED
from broker.profiles.definitions import Binding, Constraint, ElementRules, TypeRule
from broker.profiles.element_checks import Origin, function_check
from broker.profiles.found import Found
from broker.profiles.invariants import CHECKED_ELSEWHERE, INVARIANTS
from broker.profiles.profile_checks import (
    ANY,
    Compile,
    TargetProfile,
    aggregation_check,
    any_profile_check,
    nested_check,
    targets_check,
)
from broker.profiles.trees import Node
from broker.profiles.value_sets import ValueSets

_HL7 = "http://hl7.org/fhir/StructureDefinition/"
_PROFILE_KEYS = frozenset({"vs-1", "vs-2", "vs-3", "us-core-26"})
_ABSTRACT = frozenset({"Resource", "DomainResource"})
_BASE_KEYS = frozenset(INVARIANTS) - _PROFILE_KEYS | CHECKED_ELSEWHERE
_UNWANTED_BINDING = "http://hl7.org/fhir/ValueSet/ucum-vitals-common"
"""HL7's tracker (FHIR-44721) calls the required binding of component.value[x] to it unwanted."""


class Library(Protocol):
    """Other profiles and the types of targets, as the compiler needs them."""

    def tree(self, url: str) -> Node | None:
        """The tree of a profile; None for an unknown one."""
        ...

    def check(self, url: str) -> Check | None:
        """The compiled profile; None for an unknown one, or one that says nothing."""
        ...

    def target_types(self, url: str) -> Sequence[str] | None:
        """The resource types that a target profile means; None if it is not known."""
        ...


class ValueRules:
    """Compiles such rules for one release. `unchecked` collects those that could not be compiled."""

    def __init__(
        self,
        release: Release,
        library: Library,
        value_sets: ValueSets,
        compile_invariant: CompileInvariant,
        *,
        is_strict: bool,
    ) -> None:
        self._release = release
        self._library = library
        self._value_sets = value_sets
        self._compile_invariant = compile_invariant
        self._is_strict = is_strict
        self.unchecked: list[str] = []

    def checks(self, rules: ElementRules, type_name: str, path: str, origin: Origin) -> Sequence[Check]:
        """`path` names the value for FHIRPath: its type, or the path of a part of a resource."""
        return [
            *self._bindings(rules.binding, type_name, origin),
            *self._type_rules(rules, type_name, origin),
            *self._constraints(rules.constraints, path, origin),
        ]

    def _bindings(self, binding: Binding | None, type_name: str, origin: Origin) -> Sequence[Check]:
        checks = []
        for value_set in binding.required if binding is not None and type_name in CODED else ():
            codes = self._value_sets.codes(value_set)
            if codes is None:
                self.unchecked.append(f"{origin.element}: the codes of {value_set} are not at hand")
                continue
            is_unwanted = value_set.startswith(_UNWANTED_BINDING) and not self._is_strict
            checks.append(binding_check(codes, value_set, "warning" if is_unwanted else "error", origin))
        return checks

    def _type_rules(self, rules: ElementRules, type_name: str, origin: Origin) -> Sequence[Check]:
        if type_name == NESTED:
            return self._nested(rules.types or (), origin)
        matching = [each for each in rules.types or () if each.code == type_name]
        if type_name == "Reference":
            modes = frozenset(mode for each in matching for mode in each.aggregation)
            is_limited = bool(modes) and all(each.aggregation for each in matching)
            aggregation = [aggregation_check(modes, origin)] if is_limited else []
            return [*self._targets(matching, origin), *aggregation]
        if any(not each.profiles or f"{_HL7}{type_name}" in each.profiles for each in matching):
            return []  # the type without a profile is permitted too
        profiles = [url for each in matching for url in each.profiles]
        if not profiles:
            return []
        return [any_profile_check([self._deferred(url) for url in profiles], origin)]

    def _deferred(self, url: str) -> Compile:
        return lambda: self._library.check(url)

    def _nested(self, types: Sequence[TypeRule], origin: Origin) -> Sequence[Check]:
        """Of an element that holds a resource."""
        permitted = {
            ANY if each.code in _ABSTRACT else each.code: [self._deferred(url) for url in each.profiles]
            for each in types
        }
        return [] if not permitted or permitted == {ANY: []} else [nested_check(permitted, origin)]

    def _targets(self, types: Sequence[TypeRule], origin: Origin) -> Sequence[Check]:
        targets = []
        for url in dict.fromkeys(url for each in types for url in each.targets):
            names = self._library.target_types(url)
            if names is None or ANY in names:
                return []  # a profile that is not known may be for any type
            targets.append(TargetProfile(url, names, self._deferred(url)))
        return [targets_check(targets, origin)] if targets else []

    def _constraints(
        self, constraints: Mapping[str, Constraint], path: str, origin: Origin
    ) -> Sequence[Check]:
        checks: list[Check] = []
        for constraint in constraints.values():
            is_hl7 = "/" not in constraint.source or constraint.source.startswith("http://hl7.org/fhir/")
            if is_hl7 and constraint.key in _BASE_KEYS:
                continue
            if is_hl7 and constraint.key in INVARIANTS:
                function, words = INVARIANTS[constraint.key]
                checks.append(function_check(function, constraint, words, origin))
            elif constraint.expression:
                checks += self._expression(constraint, path, origin)
        return checks

    def _expression(self, constraint: Constraint, path: str, origin: Origin) -> Sequence[Check]:
        """An invariant by its FHIRPath. One that can't be evaluated is reported once, and refuses nothing."""
        try:
            evaluate = self._compile_invariant(constraint.expression, self._release, path)
        except BrokerError as error:
            self.unchecked.append(f"{origin.element}: {constraint.key} is not evaluated: {error}")
            return []

        def holds(value: Any, found: Found) -> bool:
            try:
                return evaluate(value, found.resource)
            except BrokerError:
                return True

        return [function_check(holds, constraint, constraint.human or constraint.expression, origin)]
