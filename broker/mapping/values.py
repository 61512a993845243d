"""The value of an Observation or component: quantity, integer, text, boolean, concept or sampled data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.mapping.codes import DATA_ABSENT_REASON, UCUM, Coding, concept
from broker.mapping.fields import ConceptRule, Field, Source, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.numbers import Absent, NotANumber, Number, read_number
from broker.mapping.reading_types import Unit
from broker.mapping.sampled import SampledDataRule
from broker.mapping.units import Conversion, candidates, conversion_of

Element = dict[str, object]
_MAX_UNITS = 256


@dataclass(frozen=True, slots=True)
class QuantityRule:
    """A number with a unit. `unit` is the device's, `target` that of the Observation; both None: no unit."""

    value: Field
    unit: Source | None
    unit_name: str
    target: Unit | None
    aliases: Mapping[str, str]
    molar_mass: Decimal | None
    low: Decimal | None
    high: Decimal | None
    special_values: Mapping[str, str]
    fixed: Mapping[str, object] | None = None
    """The elements of a quantity that is not converted."""
    _conversions: dict[str, Conversion | None] = field(default_factory=dict)

    def element(self, scope: Scope, written: Any) -> Element:
        """`valueQuantity` or `dataAbsentReason`. Raises `Unmapped`. `written` is the value, not None."""
        number = _number(self.value, written, self.special_values)
        if isinstance(number, Absent):
            return absent(number.reason)
        value = number.value
        if self.target is not None:
            value = self._conversion(scope).apply(value, is_integer=number.is_integer)
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            text = f"the value is outside of what is possible ({self.low} to {self.high}"
            unit = f" {self.target.code})." if self.target else ")."
            raise Unmapped(
                "value", "impossible-value", self.value.name, text + unit, path=self.value.expression.path
            )
        quantity: Element = {"value": _json_number(value)}
        if number.comparator:
            quantity["comparator"] = number.comparator
        if self.fixed is not None:
            quantity |= self.fixed
        if self.target is not None:
            quantity |= {"unit": self.target.text, "system": UCUM, "code": self.target.code}
        return {"valueQuantity": quantity}

    def _conversion(self, scope: Scope) -> Conversion:
        target = self.target
        if target is None or self.unit is None:
            raise AssertionError("a quantity has both units or none")
        written = self.unit.read(scope)
        path = self.unit.field.expression.path if self.unit.field else ""
        if written is None:
            text = "the reading has no unit. Send it, or write the unit into the mapping."
            raise Unmapped("required", "missing-field", self.unit_name, text, path=path)
        if written not in self._conversions:
            if len(self._conversions) >= _MAX_UNITS:
                self._conversions.clear()
            self._conversions[written] = conversion_of(written, target.code, self.aliases, self.molar_mass)
        found = self._conversions[written]
        if found is None:
            text = (
                f"the unit is unknown, or does not convert to {target.code}. "
                "Add it to `units` of the mapping."
            )
            raise Unmapped(
                "code-invalid", "unknown-unit", self.unit_name, text, path=path,
                candidates=candidates(target.code, self.aliases, self.molar_mass),
            )  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class PlainRule:
    """A value that is no quantity. `kind` is integer, string, boolean or concept."""

    kind: str
    value: Field
    codes: Mapping[str, tuple[Coding, ...]]
    special_values: Mapping[str, str]
    fixed: Mapping[str, object] | None = None
    """The concept of every value."""

    def element(self, scope: Scope, written: Any) -> Element:
        """As that of `QuantityRule`."""
        match self.kind:
            case "integer":
                return self._integer(written)
            case "boolean":
                if not isinstance(written, bool):
                    raise self.value.failure("invalid", "malformed", "the value must be true or false.")
                return {"valueBoolean": written}
            case "concept" if self.fixed is not None:
                return {"valueCodeableConcept": self.fixed}
            case "concept":
                word = self.value.text(scope) or ""
                found = ConceptRule(None, self.value, self.codes).concept_of(word, self.value)
                return {"valueCodeableConcept": found}
            case _:
                text = self.value.text(scope)
                return absent("unknown") if text is None else {"valueString": text}

    def _integer(self, written: Any) -> Element:
        number = _number(self.value, written, self.special_values)
        if isinstance(number, Absent):
            return absent(number.reason)
        if (
            number.comparator
            or number.value != number.value.to_integral_value()
            or abs(number.value) >= 2**31
        ):
            raise self.value.failure("invalid", "malformed", "the value must be a whole number.")
        return {"valueInteger": int(number.value)}


@dataclass(frozen=True, slots=True)
class ValueRule:
    """An observation's or component's value, with when it is there."""

    name: str
    """The name of the field, such as `observations[0].components[1]`."""
    when: Field | None
    rule: QuantityRule | PlainRule | SampledDataRule | None
    absent_reason: str
    is_value_required: bool

    def element(self, scope: Scope) -> Element | None:
        """The elements `value[x]` or `dataAbsentReason`; None if the reading does not have it. Raises
        `Unmapped`.
        """
        if self.when is not None and not self.when.is_true(scope):
            return None
        rule = self.rule
        if rule is None:
            return None
        value = rule.value.read(scope)
        if value is None or value == "":
            if self.when is None:
                return None
            if not self.absent_reason or self.is_value_required:
                raise rule.value.failure("required", "missing-field", "the value is missing.")
            return absent(self.absent_reason)
        element = rule.element(scope, value)
        if self.is_value_required and "dataAbsentReason" in element:
            raise rule.value.failure("required", "missing-field", "the profile demands a value.")
        return element


def _number(source: Field, written: Any, special_values: Mapping[str, str]) -> Number | Absent:
    try:
        return read_number(written, special_values)
    except NotANumber as error:
        raise source.failure("invalid", "malformed", f"the value {error}.") from None


def absent(reason: str) -> Element:
    """A dataAbsentReason (V-22, V-27)."""
    return {"dataAbsentReason": concept(Coding(DATA_ABSENT_REASON, reason))}


def _json_number(value: Decimal) -> Any:
    """A whole number without exponent as `int`: `72`, not `7.2E+1`."""
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else value
