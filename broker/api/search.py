"""Searches over what the broker holds itself, Subscriptions, topics, operations: a field table per type, evaluated on the neutral model.

A parameter, modifier, prefix or value that isn't understood is refused: a search that passes over it would answer with what was
not asked for. Only unknown parameters may be passed over, and only where the caller says so (`Prefer: handling=lenient`).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.datastructures import QueryParams

from broker.errors import Issue, Malformed
from broker.matching.dates import compare_dates, date_interval, date_span
from broker.matching.values import BadValue
from broker.model.search import Comparator, ParameterType

T = TypeVar("T")
CONTROL = frozenset({"_format", "_pretty", "_count", "_page", "_summary", "_elements", "_total"})
"""What shapes the answer and leaves alone what is found."""
_MODIFIERS: Mapping[ParameterType, frozenset[str]] = {
    ParameterType.TOKEN: frozenset({"not"}),
    ParameterType.STRING: frozenset({"exact", "contains"}),
    ParameterType.URI: frozenset({"below", "above"}),
    ParameterType.DATE: frozenset(),
    ParameterType.REFERENCE: frozenset(),
}
_WORD = re.compile(r"((?:[^\\,]|\\.)*)(?:,|$)", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\,|$])")
_BAR = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One search parameter: its type, and the values an item has for it.

    A token's may be `system|code`; a date's `start/end`, either side of which may be empty.
    """

    type: ParameterType
    values: Callable[[T], Iterable[str | None]]


@dataclass(frozen=True, slots=True)
class Term(Generic[T]):
    """One parameter as given, checked: any of `wanted` is to be met."""

    field: Field[T]
    modifier: str
    wanted: tuple[str, ...]

    def passes(self, candidate: T) -> bool:
        held = [value for value in self.field.values(candidate) if value]
        if self.modifier == "missing":
            return bool(held) is (self.wanted == ("false",))
        is_met = any(
            _meets(self.field.type, self.modifier, one, value) for one in self.wanted for value in held
        )
        # none may match, and one that isn't there doesn't
        return not is_met if self.modifier == "not" else is_met


def read_terms(
    query: QueryParams, fields: Mapping[str, Field[T]], *, is_lenient: bool = False
) -> tuple[Sequence[Term[T]], Sequence[tuple[str, str]]]:
    """The terms, and the parameters that were used (the control ones included), as given. Raises `Malformed` naming the parameter."""
    terms: list[Term[T]] = []
    used: list[tuple[str, str]] = []
    for name, given in query.multi_items():
        code, _, modifier = name.partition(":")
        if name not in CONTROL:
            field = fields.get(code)
            if field is None and is_lenient:
                continue
            if field is None:
                known = ", ".join(sorted(fields))
                text = f"unknown search parameter {code!r}; known are {known}"
                raise Malformed(Issue("not-supported", text, code))
            terms.append(_term(name, field, modifier, given))
        used.append((name, given))
    return terms, used


def _term(name: str, field: Field[T], modifier: str, given: str) -> Term[T]:
    wanted = tuple(split_values(given))
    if not all(wanted):
        raise Malformed(Issue("value", f"{name} has an empty value", name))
    if modifier == "missing":
        if given not in {"true", "false"}:
            raise Malformed(Issue("value", f"{name} takes true or false, not {given!r}", name))
    elif modifier and modifier not in _allowed(field.type, modifier):
        text = f"the modifier :{modifier} is not supported on a {field.type} parameter"
        raise Malformed(Issue("not-supported", text, name))
    elif field.type is ParameterType.DATE:
        for one in wanted:
            try:
                _prefixed_date(one)
            except (BadValue, ValueError):
                raise Malformed(Issue("value", f"{name} takes a date, not {one!r}", name)) from None
    return Term(field, modifier, wanted)


def _allowed(kind: ParameterType, modifier: str) -> frozenset[str]:
    # a type as modifier says what the reference points to
    is_type = kind is ParameterType.REFERENCE and modifier.isalpha() and modifier[:1].isupper()
    return frozenset({modifier}) if is_type else _MODIFIERS.get(kind, frozenset())


def split_values(given: str) -> list[str]:
    """The values between commas; one behind a backslash belongs to its value. Escapes stay: a token is yet to be cut at its bar."""
    values = [match[1] for match in _WORD.finditer(given)]
    # the last match is the empty one at the very end
    return values[:-1] if len(values) > 1 and not given.endswith(",") else values


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _folded(text: str) -> str:
    """Without case and accents (R-404)."""
    return "".join(
        one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)
    ).casefold()


def _token(wanted: str, held: str) -> bool:
    """R-403; a value held without a bar is a code whose system goes without saying."""
    system, bar, code = held.rpartition("|")
    given = [_plain(part) for part in _BAR.split(wanted)]
    if len(given) == 1:
        return code == given[0]
    wanted_system, wanted_code = "|".join(given[:-1]), given[-1]
    return (not bar or system == wanted_system) and wanted_code in {"", code}


def _prefixed_date(wanted: str) -> tuple[Comparator, str]:
    prefix, rest = (wanted[:2], wanted[2:]) if wanted[:1].isalpha() else (Comparator.EQ, wanted)
    date_interval(rest)
    return Comparator(prefix), rest


def _date(wanted: str, held: str) -> bool:
    comparator, rest = _prefixed_date(wanted)
    start, slash, end = held.partition("/")
    period = {name: one for name, one in (("start", start), ("end", end)) if one}
    span = date_span(period if slash else held)
    return span is not None and compare_dates(comparator, span, date_interval(rest))


def _uri(modifier: str, wanted: str, held: str) -> bool:
    match modifier:
        case "below":
            return held == wanted or held.startswith(wanted.rstrip("/") + "/")
        case "above":
            return held == wanted or wanted.startswith(held.rstrip("/") + "/")
        case _:
            return held == wanted


def _string(modifier: str, wanted: str, held: str) -> bool:
    match modifier:
        case "exact":
            return held == wanted
        case "contains":
            return _folded(wanted) in _folded(held)
        case _:
            return _folded(held).startswith(_folded(wanted))


def _meets(kind: ParameterType, modifier: str, wanted: str, held: str) -> bool:
    match kind:
        case ParameterType.TOKEN:
            return _token(wanted, held)
        case ParameterType.DATE:
            return _date(_plain(wanted), held)
        case ParameterType.STRING:
            return _string(modifier, _plain(wanted), held)
        case ParameterType.REFERENCE:
            target = f"{modifier}/{_plain(wanted)}" if modifier else _plain(wanted)
            return held == target or held.endswith("/" + target)
        case _:
            return _uri(modifier, _plain(wanted), held)
