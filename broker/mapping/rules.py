"""The parts of a compiled mapping file: how corrections, components and observations are read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.mapping.fields import ConceptRule, Field, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.reading import Merge
from broker.mapping.times import TimeRule
from broker.mapping.values import ValueRule, absent


class CorrectionRule(NamedTuple):
    """Which values say that the reading corrects an earlier one."""

    value: Field
    words: Mapping[str, str]


class ComponentRule(NamedTuple):
    """A component. A required one that is missing gets a dataAbsentReason (V-25)."""

    code: Mapping[str, object]
    value: ValueRule
    is_required: bool

    def without_value(self) -> dict[str, object]:
        """As it is where the reading lacks a required one."""
        return {"code": self.code, **absent("unknown")}


class MergeRule(NamedTuple):
    """With which other readings a reading is one Observation: `window` is `time`, `hour`, `day` or '',
    `by` gives what else they have in common. `required` as in `Merge`.
    """

    window: str
    by: Field | None
    required: tuple[Mapping[str, object], ...] = ()

    def read(self, scope: Scope) -> Merge:
        """Raises `Unmapped`."""
        if self.by is None:
            return Merge(self.window, "", self.required)
        key = self.by.text(scope)
        if key is None:
            text = "the reading does not say with which others it is one Observation."
            raise self.by.failure("required", "missing-field", text)
        return Merge(self.window, key, self.required)


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
            elements.append({"code": component.code, **value})
        elif component.is_required:
            elements.append(component.without_value())
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
