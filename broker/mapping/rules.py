"""The parts of a compiled mapping file: how identities, corrections, components and observations are read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.mapping.codes import MDC
from broker.mapping.fields import ConceptRule, Field, IdentifierRule, Source, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.reading import Identifier, IdentityPolicy, Merge
from broker.mapping.times import TimeRule
from broker.mapping.values import ValueRule, absent

_VERSIONS: Mapping[str, str] = {"firmware": "531976", "software": "531975", "hardware": "531974"}
"""The MDC code of what a version is of, by the key of the mapping file (V-40)."""
_GS1 = re.compile(r"\(01\)(\d{14})(?!\d)")
_GS1_ISSUER = "http://hl7.org/fhir/NamingSystem/gs1-di"


class IdentityRule(NamedTuple):
    """How a Device or Patient is named; `elements` gives what it has if it is created."""

    identifier: IdentifierRule
    policy: IdentityPolicy | None
    sources: Mapping[str, Source]
    fixed: Mapping[str, object]
    is_required: bool


class CorrectionRule(NamedTuple):
    """Which values say that the reading corrects an earlier one."""

    value: Field
    words: Mapping[str, str]


class ComponentRule(NamedTuple):
    """A component. A required one that is missing gets a dataAbsentReason (V-25)."""

    code: Mapping[str, object]
    value: ValueRule
    is_required: bool


class MergeRule(NamedTuple):
    """With which other readings a reading is one Observation: `window` is `hour`, `day` or '', `by` gives
    what else they have in common.
    """

    window: str
    by: Field | None

    def read(self, scope: Scope) -> Merge:
        """Raises `Unmapped`."""
        if self.by is None:
            return Merge(self.window, "")
        key = self.by.text(scope)
        if key is None:
            text = "the reading does not say with which others it is one Observation."
            raise self.by.failure("required", "missing-field", text)
        return Merge(self.window, key)


@dataclass(frozen=True, slots=True)
class ObservationRule:
    """How one Observation of a reading is made. `fixed`: the elements that are always the same."""

    name: str
    fixed: Mapping[str, object]
    value: ValueRule
    components: tuple[ComponentRule, ...]
    concepts: Mapping[str, ConceptRule]
    group_by: Field | None
    is_grouped_by_time: bool
    members: tuple[str, ...]
    time: TimeRule | None
    merge: MergeRule | None = None

    @property
    def is_grouped(self) -> bool:
        return self.is_grouped_by_time or self.group_by is not None


def components_of(rule: ObservationRule, scopes: Sequence[Scope]) -> list[dict[str, object]] | None:
    """The components that the items have, and those that the profile demands; None if there is no value."""
    elements = []
    is_there = False
    for component in rule.components:
        value = _first(component.value, scopes)
        if value is not None:
            is_there = True
        elif component.is_required:
            value = absent("unknown")
        else:
            continue
        elements.append({"code": component.code, **value})
    return elements if is_there else None


def _first(rule: ValueRule, scopes: Iterable[Scope]) -> dict[str, object] | None:
    """The value in the only item of a group that has it. Raises `Unmapped` if items contradict each other."""
    found: dict[str, object] | None = None
    for scope in scopes:
        value = rule.element(scope)
        if value is None or value == found:
            continue
        if found is not None:
            text = "readings of one group have different values of the same component."
            raise Unmapped("invalid", "malformed", rule.name, text)
        found = value
    return found


def has_value(rule: ValueRule, scope: Scope) -> bool:
    """Whether an item has the value, without reading it."""
    if rule.when is not None and not rule.when.is_true(scope):
        return False
    return rule.rule is not None and rule.rule.value.read(scope) not in (None, "")


def identity_of(
    rule: IdentityRule, scope: Scope
) -> tuple[Identifier, IdentityPolicy | None, Mapping[str, object]] | None:
    identifier = rule.identifier.read(scope)
    if identifier is None:
        if rule.is_required:
            raise rule.identifier.value.failure("required", "missing-field", "the identifier is missing.")
        return None
    found = {name: text for name, source in rule.sources.items() if (text := source.read(scope)) is not None}
    return Identifier(*identifier), rule.policy, {**rule.fixed, **_elements_of(found)}


def _elements_of(found: Mapping[str, str]) -> dict[str, object]:
    """The elements of a Device or Patient. The keys are those of the mapping file."""
    elements: dict[str, object] = {
        element: found[key]
        for key, element in (
            ("manufacturer", "manufacturer"),
            ("model", "modelNumber"),
            ("serial", "serialNumber"),
            ("gender", "gender"),
            ("birth-date", "birthDate"),
        )
        if key in found
    }
    if "name" in found:
        elements["deviceName"] = [{"name": found["name"], "type": "user-friendly-name"}]
    if versions := [_version(key, code, found) for key, code in _VERSIONS.items() if key in found]:
        elements["version"] = versions
    if "udi" in found:
        elements["udiCarrier"] = [_udi_carrier(found["udi"])]
    if "family" in found or "given" in found:
        name: dict[str, object] = {}
        if "family" in found:
            name["family"] = found["family"]
        if "given" in found:
            name["given"] = [found["given"]]
        elements["name"] = [name]
    return elements


def _version(key: str, code: str, found: Mapping[str, str]) -> dict[str, object]:
    return {"type": {"coding": [{"system": MDC, "code": code}]}, "value": found[key]}


def _udi_carrier(text: str) -> dict[str, str]:
    """The carrier of a UDI as people read it; where GS1 issued it, the identifier of the model is in it."""
    carrier = {"carrierHRF": text}
    if match := _GS1.match(text):
        carrier |= {"deviceIdentifier": match[1], "issuer": _GS1_ISSUER}
    return carrier
