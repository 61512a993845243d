"""How a mapping names the Device and the Patient of a reading, and what they have if they are created."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.mapping.codes import MDC
from broker.mapping.expressions import Expression, ExpressionFailed
from broker.mapping.fields import IdentifierRule, Source
from broker.mapping.functions import Scope
from broker.mapping.reading import Identifier, IdentityPolicy

_VERSIONS: Mapping[str, str] = {"firmware": "531976", "software": "531975", "hardware": "531974"}
"""The MDC code of what a version is of, by the key of the mapping file (V-40)."""
_GS1 = re.compile(r"\(01\)(\d{14})(?!\d)")
_GS1_ISSUER = "http://hl7.org/fhir/NamingSystem/gs1-di"
_MAX_RECENT = 1_024
_MAX_CHARS = 2_000


class Identity(NamedTuple):
    """What `reading.DeviceIdentity` and `reading.PatientIdentity` have."""

    identifier: Identifier
    policy: IdentityPolicy | None
    resource: Mapping[str, object]


@dataclass(eq=False, slots=True)
class IdentityRule:
    """Reads the identity of a Device or Patient.

    A device sends the same identity with every reading: the recent ones are kept by the texts of the payload
    that they were read from.
    """

    identifier: IdentifierRule
    policy: IdentityPolicy | None
    sources: Mapping[str, Source]
    """By the keys of the mapping file."""
    fixed: Mapping[str, object]
    is_required: bool
    _expressions: tuple[Expression, ...] = field(init=False)
    _recent: dict[tuple[str | None, ...], Identity | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        sources = (self.identifier.system, *self.sources.values())
        fields = [self.identifier.value, *(source.field for source in sources if source.field is not None)]
        self._expressions = tuple(each.expression for each in fields)

    def read(self, scope: Scope) -> Identity | None:
        """None if the payload has no identifier, and needs none. Raises `Unmapped`."""
        written = self._written(scope)
        if written is None:
            return self._read(scope)
        if written not in self._recent:
            found = self._read(scope)
            if len(self._recent) >= _MAX_RECENT:
                self._recent.clear()
            self._recent[written] = found
        return self._recent[written]

    def _written(self, scope: Scope) -> tuple[str | None, ...] | None:
        """The texts of the payload; None if they are long, or something is no text."""
        texts: list[str | None] = []
        chars = 0
        try:
            for expression in self._expressions:
                value = expression.evaluate(scope)
                if value.__class__ is str:
                    chars += len(value)
                elif value is not None:
                    return None
                texts.append(value)
        except ExpressionFailed:
            return None
        return tuple(texts) if chars <= _MAX_CHARS else None

    def _read(self, scope: Scope) -> Identity | None:
        identifier = self.identifier.read(scope)
        if identifier is None:
            if self.is_required:
                raise self.identifier.value.failure("required", "missing-field", "the identifier is missing.")
            return None
        texts = {name: source.read(scope) for name, source in self.sources.items()}
        found = {name: text for name, text in texts.items() if text is not None}
        return Identity(Identifier(*identifier), self.policy, {**self.fixed, **_elements_of(found)})


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
