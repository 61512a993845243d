"""Compiles the parts that several objects of a mapping file have: expressions, sources, codings, times."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.mapping.codes import MDC, SYSTEMS, Coding, concept, widen_mdc
from broker.mapping.errors import MappingError
from broker.mapping.expressions import BadExpression, Expression
from broker.mapping.fields import ConceptRule, Field, IdentifierRule, Source
from broker.mapping.times import TimeRule, zone_of
from broker.mapping.yaml_document import Path, YamlDocument, field_name

_FORMATS = {"iso", "date", "epoch-s", "epoch-ms", "epoch-us"}


class FieldCompiler:
    """Compiles the parts of one document, which satisfies the schema."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document

    def error(self, path: Path, text: str) -> MappingError:
        return self._document.error(path, text)

    def value(self, path: Path) -> Any:
        """What the file has there; None if nothing."""
        value = self._document.value
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int):
                value = value[step]
            else:
                return None
        return value

    def expression(self, path: Path) -> Field:
        """Raises `MappingError`."""
        value = self.value(path)
        try:
            if isinstance(value, dict):
                return Field(field_name(path), Expression(value["jsonpath"], is_jsonpath=True))
            return Field(field_name(path), Expression(value))
        except BadExpression as error:
            raise self.error(path, f"{error}.") from None

    def optional(self, path: Path) -> Field | None:
        return None if self.value(path) is None else self.expression(path)

    def source(self, path: Path) -> Source:
        value = self.value(path)
        if isinstance(value, str):
            return Source(value, None, {})
        field = self.expression((*path, "from"))
        return Source(None, Field(field_name(path), field.expression), value.get("words", {}))

    def identifier(self, path: Path) -> IdentifierRule:
        return IdentifierRule(self.source((*path, "system")), self.expression((*path, "value")))

    def codings(self, path: Path) -> tuple[Coding, ...]:
        return tuple(self._coding((*path, n), each) for n, each in enumerate(self.value(path) or []))

    def _coding(self, path: Path, members: Mapping[str, Any]) -> Coding:
        """MDC codes become 32 bits wide (V-20)."""
        system = SYSTEMS.get(members["system"], members["system"])
        code = str(members["code"]).strip()
        if system and not {":", "."} & {*system}:
            raise self.error(path, "the system must be a URL or loinc, mdc, snomed or ucum.")
        if not code and "display" not in members:
            raise self.error(path, "needs a code, or a display in its place.")
        if system == MDC:
            if not code.isdecimal():
                raise self.error((*path, "code"), "an MDC code is a number.")
            code = str(widen_mdc(int(code), members.get("partition", 2)))
        return Coding(system, code, members.get("display", ""))

    def categories(self, path: Path) -> list[dict[str, object]]:
        """CodeableConcepts."""
        concepts = []
        for number, each in enumerate(self.value(path) or []):
            if "text" in each:
                made = concept(*self.codings((*path, number, "codes")), text=each["text"])
                if not made:
                    raise self.error((*path, number), "needs a text or codes.")
                concepts.append(made)
            else:
                concepts.append(concept(self._coding((*path, number), each)))
        return concepts

    def codes(self, path: Path) -> Mapping[str, tuple[Coding, ...]]:
        return {word: self.codings((*path, word)) for word in self.value(path) or {}}

    def concept(self, path: Path) -> ConceptRule:
        value = self.value(path)
        if isinstance(value, list):
            return ConceptRule(concept(*self.codings(path)), None, {})
        return ConceptRule(None, self.expression((*path, "from")), self.codes((*path, "codes")))

    def number_or_field(self, path: Path, default: int) -> Decimal | Field:
        value = self.value(path)
        if value is None:
            return Decimal(default)
        return Decimal(value) if isinstance(value, int | Decimal) else self.expression(path)

    def time(self, path: Path) -> TimeRule:
        value = self.value(path)
        name = field_name(path)
        if value == "received":
            return TimeRule(name)
        form = value.get("format", "iso")
        if form not in _FORMATS and "%" not in form:
            raise self.error(
                (*path, "format"), f"must be one of {', '.join(sorted(_FORMATS))}, or a format of strptime."
            )
        zone = self.source((*path, "zone")) if "zone" in value else None
        if zone is not None and zone.fixed is not None:
            try:
                zone_of(zone.fixed)
            except ValueError:
                raise self.error((*path, "zone"), "the time zone is unknown.") from None
        if "end" in value and "duration" in value:
            raise self.error((*path, "duration"), "the period has an end already.")
        return TimeRule(
            name=name,
            value=self.expression((*path, "value")),
            format=form,
            zone=zone,
            end=self.optional((*path, "end")),
            duration=self._length((*path, "duration")),
            clock_offset=self._length((*path, "clock-offset")),
            missing_is_received=value.get("missing") == "received",
        )

    def _length(self, path: Path) -> tuple[Field, str] | None:
        value = self.value(path)
        return None if value is None else (self.expression((*path, "value")), value["unit"])
