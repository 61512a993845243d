"""One mapping file, compiled: gives the readings and problems of a payload.

One bad reading affects no other: each item that `select` gives is mapped by itself, and each observation of
it. The same payload always gives the same values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from broker.mapping.expressions import PAYLOAD, Expression
from broker.mapping.fields import Field, IdentifierRule, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.identity_rules import IdentityRule
from broker.mapping.places import place_of
from broker.mapping.reading import (
    DeviceIdentity,
    Identifier,
    MappedReading,
    PatientIdentity,
    ReadingProblem,
)
from broker.mapping.rules import (
    CorrectionRule,
    ObservationRule,
    components_of,
    has_value,
)
from broker.mapping.times import EffectiveTime, TimeRule

_MAX_READINGS = 10_000
_GATEWAY = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"
Results = list[MappedReading | ReadingProblem]


class _Common(NamedTuple):
    """What the observations of one item share."""

    device: DeviceIdentity
    patient: PatientIdentity | None
    encounter: Identifier | None
    time: EffectiveTime
    correction: str
    discriminator: str
    elements: Mapping[str, object]


class _Item(NamedTuple):
    scope: Scope
    common: _Common
    number: int
    """Which one of the payload it is, from 0."""


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    """See the module. `file` is for messages, and `is_shipped` for precedence."""

    name: str
    title: str
    description: str
    file: str
    is_shipped: bool
    collection: str
    match: Expression
    steps: tuple[Field, ...]
    wrapped_as: str
    """The member by which expressions see the selected item beside the payload's; '': they see it only."""
    device: IdentityRule
    patient: IdentityRule | None
    encounter: IdentifierRule | None
    gateway: IdentifierRule | None
    time: TimeRule
    correction: CorrectionRule | None
    discriminator: Field | None
    note: Field | None
    observations: tuple[ObservationRule, ...]
    source: Mapping[str, Any]
    """The file's content, from which the mapping document is written."""

    def map(self, payload: object, received: datetime) -> Results:
        """Never raises for what is in a payload, and is never empty."""
        try:
            scopes = self._select(payload)
        except Unmapped as error:
            return [self._problem(error, "")]
        return _Mapping(self, payload, received).run(scopes)

    def _select(self, payload: object) -> list[Scope]:
        scopes = [Scope((payload,), 0)]
        for step in self.steps:
            selected: list[Scope] = []
            for scope in scopes:
                items = step.items(scope)
                selected += (Scope((*scope.items, item), place) for place, item in enumerate(items))
                if len(selected) > _MAX_READINGS:
                    text = f"the payload has more than {_MAX_READINGS} readings. Send it in parts."
                    raise step.failure("too-long", "malformed", text)
            scopes = selected
        if self.wrapped_as:
            scopes = [_wrapped(scope, self.wrapped_as) for scope in scopes]
        if not scopes:
            raise self.steps[-1].failure("required", "missing-field", "the payload has no readings.")
        return scopes

    def _problem(self, error: Unmapped, place: str) -> ReadingProblem:
        path = error.path
        if path.startswith(PAYLOAD):
            place, path = "", path.removeprefix(PAYLOAD)
        joined = f"{place}.{path}" if place and path else place or path
        text = f"{self.name}: {error.field}: {error.text}"
        return ReadingProblem(
            error.code, error.reason, self.name, error.field, joined, text, error.candidates
        )

    def problem(self, error: Unmapped, scope: Scope) -> ReadingProblem:
        steps = [step.expression.text for step in self.steps]
        if self.wrapped_as:
            scope = Scope(scope.items[:-1], scope.position)
        return self._problem(error, place_of(scope, steps))

    def common(self, scope: Scope, received: datetime) -> _Common:
        """Raises `Unmapped`."""
        device = self.device.read(scope)
        if device is None:
            raise self.device.identifier.value.failure(
                "required", "missing-field", "the reading does not say which device it is of."
            )
        patient = None if self.patient is None else self.patient.read(scope)
        encounter = None if self.encounter is None else self.encounter.read(scope)
        return _Common(
            DeviceIdentity(*device),
            None if patient is None else PatientIdentity(*patient),
            None if encounter is None else Identifier(*encounter),
            self.time.read(scope, received),
            self._correction(scope),
            (self.discriminator.text(scope) or "") if self.discriminator else "",
            self._elements(scope),
        )

    def _correction(self, scope: Scope) -> str:
        if self.correction is None:
            return ""
        value = self.correction.value.read(scope)
        if value is None or value is False or value == "":
            return ""
        word = "true" if value is True else str(value)
        if (status := self.correction.words.get(word)) is None:
            raise self.correction.value.failure(
                "code-invalid",
                "unknown-code",
                "the mapping does not know the word.",
                tuple(self.correction.words),
            )
        return status

    def _elements(self, scope: Scope) -> Mapping[str, object]:
        elements: dict[str, object] = {}
        if self.note is not None and (note := self.note.text(scope)):
            elements["note"] = [{"text": note}]
        if self.gateway is not None and (gateway := self.gateway.read(scope)):
            system, value = gateway
            reference = {"type": "Device", "identifier": {"system": system, "value": value}}
            elements["extension"] = [{"url": _GATEWAY, "valueReference": reference}]
        return elements


def _wrapped(scope: Scope, name: str) -> Scope:
    payload = scope.items[0]
    members = payload if isinstance(payload, dict) else {}
    return Scope((*scope.items, {**members, name: scope.item}), scope.position)


class _Mapping:
    """The mapping of one payload."""

    def __init__(self, mapping: DeviceMapping, payload: object, received: datetime) -> None:
        self._mapping = mapping
        self._payload = payload
        self._received = received
        self._results: Results = []

    def run(self, scopes: Sequence[Scope]) -> Results:
        items: list[_Item] = []
        for scope in scopes:
            try:
                common = self._mapping.common(scope, self._received)
                items.append(_Item(scope, common, len(items)))
            except Unmapped as error:
                self._results.append(self._mapping.problem(error, scope))
        grouped = [rule for rule in self._mapping.observations if rule.is_grouped]
        groups = {rule.name: self._group(rule, items) for rule in grouped}
        for item in items:
            self._map_item(item, groups)
        return self._results

    def _group(self, rule: ObservationRule, items: Sequence[_Item]) -> Mapping[int, list[_Item]]:
        """The items of each Observation of the rule, by the number of its first item."""
        by_key: dict[object, tuple[int, list[_Item]]] = {}
        for item in items:
            try:
                if not any(has_value(component.value, item.scope) for component in rule.components):
                    continue
                key = item.common.time.start if rule.group_by is None else rule.group_by.text(item.scope)
            except Unmapped as error:
                self._results.append(self._mapping.problem(error, item.scope))
                continue
            common = item.common
            patient = common.patient.identifier if common.patient else None
            # without a correlation id it stands alone
            whole_key = (item.number,) if key is None else (key, common.device.identifier, patient)
            by_key.setdefault(whole_key, (item.number, []))[1].append(item)
        return dict(by_key.values())

    def _map_item(self, item: _Item, groups: Mapping[str, Mapping[int, list[_Item]]]) -> None:
        """The readings and problems of the item, in the order in which the mapping has its observations."""
        names: set[str] = set()
        failed: set[str] = set()
        found: list[tuple[int, MappedReading | ReadingProblem]] = []
        is_grouped = False
        for place, rule in enumerate(self._mapping.observations):
            items = [item]
            if rule.is_grouped:
                is_grouped = is_grouped or any(item in group for group in groups[rule.name].values())
                items = groups[rule.name].get(item.number, [])
                if not items:
                    continue
            elif rule.members:
                continue
            try:
                reading = self._observation(rule, items)
            except Unmapped as error:
                failed.add(rule.name)
                found.append((place, self._mapping.problem(error, item.scope)))
                continue
            if reading is not None:
                names.add(rule.name)
                found.append((place, reading))
        for place, rule in enumerate(self._mapping.observations):
            if not names.isdisjoint(rule.members):
                # with the failed ones, for which the panel waits: a stored one would stay incomplete
                members = tuple(name for name in rule.members if name in names | failed)
                found.append((place, self._panel(rule, item, members)))
        self._results += [result for _, result in sorted(found, key=lambda row: row[0])]
        if not found and not is_grouped:
            text = "the reading has none of the values that the mapping reads."
            self._results.append(
                self._mapping.problem(Unmapped("required", "missing-field", "observations", text), item.scope)
            )

    def _panel(
        self, rule: ObservationRule, item: _Item, members: tuple[str, ...]
    ) -> MappedReading | ReadingProblem:
        try:
            return self._reading(rule, item, {}, members)
        except Unmapped as error:
            return self._mapping.problem(error, item.scope)

    def _observation(self, rule: ObservationRule, items: Sequence[_Item]) -> MappedReading | None:
        scope = items[0].scope
        if rule.components:
            when = rule.value.when
            if when is not None and not any(when.is_true(each.scope) for each in items):
                return None
            components = components_of(rule, [each.scope for each in items])
            if components is None:
                return None
            elements: dict[str, object] = {"component": components}
            if rule.value.rule is not None:
                elements |= rule.value.element(scope) or {}
        else:
            value = rule.value.element(scope)
            if value is None:
                return None
            elements = value
        return self._reading(rule, items[0], elements, ())

    def _reading(
        self, rule: ObservationRule, item: _Item, elements: Mapping[str, object], members: tuple[str, ...]
    ) -> MappedReading:
        common = item.common
        time = common.time if rule.time is None else rule.time.read(item.scope, self._received)
        concepts = {
            name: [found] if name == "interpretation" else found
            for name, concept in rule.concepts.items()
            if (found := concept.read(item.scope)) is not None
        }
        return MappedReading(
            mapping=self._mapping.name,
            device=common.device,
            patient=common.patient,
            encounter=common.encounter,
            start=time.start,
            end=time.end,
            text_of_time=time.text,
            clock_offset_s=time.clock_offset_s,
            correction=common.correction,
            discriminator=common.discriminator,
            resource={**rule.fixed, **elements, **concepts, **common.elements},
            name=rule.name,
            item=item.number,
            members=members,
            merge=None if rule.merge is None else rule.merge.read(item.scope),
        )
