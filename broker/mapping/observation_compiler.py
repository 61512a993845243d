"""Compiles the observations and components of a mapping file."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from broker.mapping.codes import CATEGORY, Coding, concept
from broker.mapping.compiled_fields import FieldCompiler
from broker.mapping.fields import Field, Source
from broker.mapping.numbers import SPECIAL_VALUES
from broker.mapping.reading_types import READING_TYPES, ReadingType, Unit
from broker.mapping.rules import ComponentRule, MergeRule, ObservationRule
from broker.mapping.sampled import MAX_SAMPLES, SampledDataRule, can_merge
from broker.mapping.units import conversion, conversion_of, is_unit, ucum_of
from broker.mapping.values import PlainRule, QuantityRule, ValueRule
from broker.mapping.yaml_document import Path, field_name

_CUSTOM = ReadingType("", ())
_CONCEPTS = {"method": "method", "body-site": "bodySite", "interpretation": "interpretation"}


class ObservationCompiler:
    """Compiles for one file: `aliases` and `special_values` are those of the file."""

    def __init__(
        self, fields: FieldCompiler, aliases: Mapping[str, str], special_values: Mapping[str, str]
    ) -> None:
        self._fields = fields
        self._aliases = aliases
        self._special_values = {
            **SPECIAL_VALUES,
            **{word.lower(): code for word, code in special_values.items()},
        }

    def observation(self, path: Path) -> ObservationRule:
        """Raises `MappingError`."""
        members: Mapping[str, Any] = self._fields.value(path)
        kind = self._type(path, members)
        components = self._components(path, members, kind)
        group = members.get("group")
        if group is not None and not components:
            raise self._fields.error((*path, "group"), "only an observation with components is grouped.")
        if not components and not members.get("members") and not {"value", "sampled-data"} & members.keys():
            raise self._fields.error(path, "needs a value, sampled-data, components or members.")
        return ObservationRule(
            name=members["name"],
            fixed=self._fixed(path, members, kind),
            value=self._value(path, members, kind),
            components=components,
            concepts={
                element: self._fields.concept((*path, key))
                for key, element in _CONCEPTS.items()
                if key in members
            },
            group_by=self._fields.expression((*path, "group", "by")) if isinstance(group, dict) else None,
            is_grouped_by_time=group == "time",
            members=tuple(members.get("members", ())),
            time=self._fields.time((*path, "time")) if "time" in members else None,
            merge=self._merge(path, members, components) if "merge" in members else None,
        )

    def _merge(
        self, path: Path, members: Mapping[str, Any], components: Sequence[ComponentRule]
    ) -> MergeRule:
        place: Path = (*path, "merge")
        if {"group", "members"} & members.keys():
            raise self._fields.error(place, "an observation that is merged has no group and no members.")
        time_path: Path = (*path, "time") if "time" in members else ("time",)
        time = self._fields.value(time_path)
        if time == "received" or "missing" in time:
            raise self._fields.error(time_path, "an observation that is merged needs the time of the device.")
        merge = members["merge"]
        window = merge if isinstance(merge, str) else ""
        for each, sampled_path in _sampled_of(path, members):
            self._check_merged(sampled_path, each, window)
        by = None if window else self._fields.expression((*place, "by"))
        return MergeRule(window, by, tuple(each.without_value() for each in components if each.is_required))

    def _check_merged(self, path: Path, sampled: Mapping[str, Any], window: str) -> None:
        period = sampled["period"]
        if not isinstance(period, int | Decimal) or sampled.get("dimensions", 1) != 1:
            text = "sampled data that is merged has one dimension and a period that is a number."
            raise self._fields.error((*path, "period"), text)
        if not can_merge(window, period):
            text = f"the {window} has more than {MAX_SAMPLES} such periods."
            raise self._fields.error((*path, "period"), text)

    def _type(self, path: Path, members: Mapping[str, Any]) -> ReadingType:
        name = members.get("type")
        if name is None:
            if "code" not in members:
                raise self._fields.error(path, "needs a type or a code.")
            return _CUSTOM
        found = READING_TYPES.get(name)
        if found is None:
            raise self._fields.error(
                (*path, "type"), f"the broker knows no such type. It knows {', '.join(READING_TYPES)}."
            )
        return found

    def _fixed(self, path: Path, members: Mapping[str, Any], kind: ReadingType) -> dict[str, object]:
        fixed: dict[str, object] = {"resourceType": "Observation"}
        profiles = members.get("profiles", [kind.profile] if kind.profile else [])
        if profiles:
            fixed["meta"] = {"profile": list(profiles)}
        categories = self._fields.categories((*path, "category"))
        if not categories and kind.category:
            categories = [concept(Coding(CATEGORY, kind.category))]
        if categories:
            fixed["category"] = categories
        fixed["code"] = self._code(path, members, kind)
        return fixed

    def _code(self, path: Path, members: Mapping[str, Any], kind: ReadingType) -> dict[str, object]:
        codings = {(each.system, each.code): each for each in kind.codes}
        for each in self._fields.codings((*path, "code")):
            codings.setdefault((each.system, each.code), each)
        return concept(*codings.values(), text=members.get("title", kind.title))

    def _components(
        self, path: Path, members: Mapping[str, Any], kind: ReadingType
    ) -> tuple[ComponentRule, ...]:
        listed = members.get("components", [])
        types = [each.get("type") for each in listed]
        for required in kind.components:
            if types.count(required) != 1:
                raise self._fields.error(
                    (*path, "components"), f"the type needs one component of type {required}."
                )
        names: set[str] = set()
        rules = []
        for number, each in enumerate(listed):
            place: Path = (*path, "components", number)
            if each["name"] in names:
                raise self._fields.error((*place, "name"), "another component has the name.")
            names.add(each["name"])
            component_kind = self._type(place, each)
            if not {"value", "sampled-data"} & each.keys():
                raise self._fields.error(place, "needs a value or sampled-data.")
            rules.append(
                ComponentRule(
                    self._code(place, each, component_kind),
                    self._value(place, each, component_kind),
                    is_required=each.get("type") in kind.components,
                )
            )
        return tuple(rules)

    def _value(self, path: Path, members: Mapping[str, Any], kind: ReadingType) -> ValueRule:
        rule: QuantityRule | PlainRule | SampledDataRule | None = None
        if "sampled-data" in members:
            rule = self._sampled(path, members, kind)
        elif "value" in members:
            value = self._fields.expression((*path, "value"))
            value_kind = members.get("kind", "quantity")
            if value_kind == "quantity":
                rule = self._quantity(path, members, kind, value)
            else:
                if value_kind == "concept" and not {"codes", "concept"} & members.keys():
                    raise self._fields.error(path, "a concept needs codes.")
                codes = self._fields.codes((*path, "codes"))
                fixed = self._fixed_concept((*path, "concept"))
                rule = PlainRule(value_kind, value, codes, self._special_values, fixed)
        return ValueRule(
            name=field_name(path),
            when=self._fields.optional((*path, "when")),
            rule=rule,
            absent_reason=members.get("absent", ""),
            is_value_required=kind.is_value_required,
        )

    def _fixed_concept(self, path: Path) -> dict[str, object] | None:
        value = self._fields.value(path)
        if value is None:
            return None
        return concept(*self._fields.codings((*path, "codes")), text=value.get("text", ""))

    def _quantity(
        self, path: Path, members: Mapping[str, Any], kind: ReadingType, value: Field
    ) -> QuantityRule:
        unit, target = self._units(path, members, kind)
        low, high = kind.low, kind.high
        if target is not None and kind.units and target.code != kind.units[0].code:
            scale = conversion(kind.units[0].code, target.code, kind.molar_mass)
            if scale is None:
                text = f"the type is in {', '.join(each.code for each in kind.units)}."
                raise self._fields.error((*path, "to"), text)
            low, high = (None if bound is None else scale.apply(bound) for bound in (low, high))
        limits = members.get("range", {})
        return QuantityRule(
            value=value,
            unit=unit,
            unit_name=field_name((*path, "unit")),
            target=target,
            aliases=self._aliases,
            molar_mass=_decimal(members.get("molar-mass", kind.molar_mass)),
            low=_decimal(limits.get("low", low)),
            high=_decimal(limits.get("high", high)),
            special_values=self._special_values,
            fixed=members.get("quantity"),
        )

    def _units(
        self, path: Path, members: Mapping[str, Any], kind: ReadingType
    ) -> tuple[Source | None, Unit | None]:
        """The unit of the payload, and that of the Observation."""
        if "quantity" in members:
            if {"unit", "to"} & members.keys():
                raise self._fields.error((*path, "quantity"), "a value that is converted has unit and to.")
            return None, None
        if "unit" not in members:
            if kind.units or "to" in members:
                raise self._fields.error(path, "unit is missing: write the unit that the device sends.")
            return None, None
        unit = self._fields.source((*path, "unit"))
        target = self._target(path, members, kind, unit)
        molar_mass = _decimal(members.get("molar-mass", kind.molar_mass))
        written = [unit.fixed] if unit.fixed is not None else list(unit.words.values())
        for text in written:
            if conversion_of(text, target.code, self._aliases, molar_mass) is None:
                raise self._fields.error(
                    (*path, "unit"), f"{text} is unknown, or does not convert to {target.code}."
                )
        return unit, target

    def _target(self, path: Path, members: Mapping[str, Any], kind: ReadingType, unit: Source) -> Unit:
        text = members.get("unit-text", "")
        code = members.get("to")
        if code is None and kind.units:
            return Unit(kind.units[0].code, text or kind.units[0].text)
        if code is None and unit.fixed is not None:
            code = ucum_of(unit.fixed, self._aliases)
            if not is_unit(code):
                raise self._fields.error((*path, "unit"), f"{unit.fixed} is no UCUM unit and no alias.")
        if code is None:
            raise self._fields.error(path, "to is missing: write the UCUM unit of the Observation.")
        for known in kind.units:
            if known.code == code:
                return Unit(code, text or known.text)
        return Unit(code, text or code)

    def _sampled(self, path: Path, members: Mapping[str, Any], kind: ReadingType) -> SampledDataRule:
        place: Path = (*path, "sampled-data")
        listed: Mapping[str, Any] = members["sampled-data"]
        unit, target = self._units(path, members, kind)
        if unit is None and "quantity" not in members:
            raise self._fields.error(path, "unit is missing: write the unit that the device sends.")
        return SampledDataRule(
            value=self._fields.expression((*place, "samples")),
            period=self._fields.number_or_field((*place, "period"), 0),
            origin=self._fields.number_or_field((*place, "origin"), 0),
            factor=self._fields.number_or_field((*place, "factor"), 1),
            lower=_decimal(listed.get("lower-limit")),
            upper=_decimal(listed.get("upper-limit")),
            dimensions=listed.get("dimensions", 1),
            unit=unit,
            unit_name=field_name((*path, "unit")),
            target=target,
            aliases=self._aliases,
            fixed=members.get("quantity", {}),
        )


def _sampled_of(path: Path, members: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The sampled data of an observation and its components, and where it is."""
    places = [(members, path)]
    places += [(each, (*path, "components", n)) for n, each in enumerate(members.get("components", ()))]
    for each, place in places:
        if "sampled-data" in each:
            yield each["sampled-data"], (*place, "sampled-data")


def _decimal(value: int | Decimal | None) -> Decimal | None:
    return None if value is None else Decimal(value)
