"""The fields of a mapping that read a payload: expressions and texts, each knowing its name in the file.

What a field cannot read is `Unmapped`; the mapper makes a `ReadingProblem` of it. Its texts name the place
and never the value.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from broker.mapping.codes import Coding, concept
from broker.mapping.expressions import Expression, ExpressionFailed
from broker.mapping.functions import Scope

_MAX_TEXT = 10_000
_MAX_IDENTIFIER = 256


class Unmapped(Exception):  # noqa: N818 named after what happened
    """A reading, or one observation of it, cannot be mapped. `path` is that of the expression, '' if it is
    no path.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        field: str,
        text: str,
        *,
        path: str = "",
        candidates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.field = field
        self.text = text
        self.path = path
        self.candidates = candidates


class Field(NamedTuple):
    """An expression, and the name of the field that has it."""

    name: str
    expression: Expression

    def read(self, scope: Scope) -> Any:
        """The value, None if there is none. Raises `Unmapped`."""
        try:
            return self.expression.evaluate(scope)
        except ExpressionFailed as error:
            raise self.failure("invalid", "malformed", f"{error}.") from None

    def items(self, scope: Scope) -> list[Any]:
        """The items that it selects. Raises `Unmapped`."""
        try:
            return self.expression.items(scope)
        except ExpressionFailed as error:
            raise self.failure("invalid", "malformed", f"{error}.") from None

    def is_true(self, scope: Scope) -> bool:
        try:
            return self.expression.is_true(scope)
        except ExpressionFailed as error:
            raise self.failure("invalid", "malformed", f"{error}.") from None

    def failure(self, code: str, reason: str, text: str, candidates: tuple[str, ...] = ()) -> Unmapped:
        return Unmapped(code, reason, self.name, text, path=self.expression.path, candidates=candidates)

    def text(self, scope: Scope) -> str | None:
        """The value as text; numbers and booleans are written out. Raises `Unmapped` for other types."""
        value = self.read(scope)
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | Decimal):
            return str(value)
        if not isinstance(value, str):
            raise self.failure("invalid", "malformed", "the value must be text.")
        text = value.strip()
        if len(text) > _MAX_TEXT or not (text.isprintable() or is_plain(text)):
            raise self.failure("invalid", "malformed", "the text is too long or has a control character.")
        return text or None


def is_plain(text: str) -> bool:
    """Whether the text has no control character but those of white space, and no lone surrogate."""
    return not any((ord(each) < 32 and each not in "\t\r\n") or "\ud800" <= each <= "\udfff" for each in text)


class Source(NamedTuple):
    """Text that is the same for all payloads, or a field with translations of its values."""

    fixed: str | None
    field: Field | None
    words: Mapping[str, str]

    def read(self, scope: Scope) -> str | None:
        if self.field is None:
            return self.fixed
        text = self.field.text(scope)
        return None if text is None else self.words.get(text, text)


class IdentifierRule(NamedTuple):
    """A business identifier. `read` gives None if the payload has no value."""

    system: Source
    value: Field

    def read(self, scope: Scope) -> tuple[str, str] | None:
        value = self.value.text(scope)
        if value is None:
            return None
        system = self.system.read(scope)
        if system is None:
            name = self.system.field.name if self.system.field else self.value.name
            raise Unmapped("required", "missing-field", name, "the identifier has a value and no system.")
        if max(len(value), len(system)) > _MAX_IDENTIFIER or not (value + system).isprintable():
            raise self.value.failure("invalid", "malformed", "the identifier is too long or not printable.")
        return system, value


class ConceptRule(NamedTuple):
    """A CodeableConcept: the same for all payloads, or by a word of the payload."""

    fixed: Mapping[str, object] | None
    field: Field | None
    codes: Mapping[str, tuple[Coding, ...]]

    def read(self, scope: Scope) -> Mapping[str, object] | None:
        if self.field is None:
            return self.fixed
        word = self.field.text(scope)
        return None if word is None else self.concept_of(word, self.field)

    def concept_of(self, word: str, field: Field) -> Mapping[str, object]:
        codings = self.codes.get(word) or self.codes.get(word.lower())
        if codings is None:
            raise field.failure(
                "code-invalid", "unknown-code", "the mapping has no code for the word.", tuple(self.codes)
            )
        return concept(*codings)
