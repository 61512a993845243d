"""Searches over what the broker itself holds: Subscriptions, topics, operations. Pure.

Each type has a table of `SearchField`s, evaluated on the neutral model. A modifier, prefix or value that is
not understood is refused: ignoring it would answer another question than the client asked. Unknown
parameters, and those without a value, are ignored and reported where the caller allows it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from broker.errors import Issue, Malformed
from broker.model.search import ParameterType
from broker.services.result_parameters import RESULT_PARAMETERS, Parameters
from broker.services.search_values import check_date, matches_value, split_values, unescaped

T = TypeVar("T")
_MODIFIERS: Mapping[ParameterType, frozenset[str]] = {
    ParameterType.TOKEN: frozenset({"not"}),
    ParameterType.STRING: frozenset({"exact", "contains"}),
    ParameterType.URI: frozenset({"below", "above"}),
    ParameterType.DATE: frozenset(),
    ParameterType.REFERENCE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class SearchField(Generic[T]):
    """One search parameter: its type, and the values that a candidate has for it.

    A token's value is `code` or `system|code`; a date's may be `start/end`, with an empty side where it is
    open.
    """

    type: ParameterType
    values: Callable[[T], Iterable[str | None]]
    is_stored: bool = False
    """Whether the store has each value, or a longer text that contains it, as it is."""


Fields = Mapping[str, SearchField[T]]


@dataclass(frozen=True, slots=True)
class SearchTerm(Generic[T]):
    """One parameter of a request, checked: a candidate passes if one of `wanted` matches."""

    field: SearchField[T]
    modifier: str
    wanted: tuple[str, ...]

    def passes(self, candidate: T) -> bool:
        """Whether the candidate meets this parameter."""
        values = [value for value in self.field.values(candidate) if value]
        if self.modifier == "missing":
            return bool(values) is (self.wanted == ("false",))
        is_met = any(
            matches_value(self.field.type, self.modifier, wanted, value)
            for wanted in self.wanted
            for value in values
        )
        # a candidate without a value passes :not
        return not is_met if self.modifier == "not" else is_met


@dataclass(frozen=True, slots=True)
class Search(Generic[T]):
    """The terms of a request; `used` are their parameters, for the self link, `ignored` warnings about the
    others.
    """

    terms: Sequence[SearchTerm[T]]
    used: Parameters
    ignored: tuple[Issue, ...] = ()

    @property
    def stored_texts(self) -> Sequence[Sequence[str]]:
        """What the store has of each candidate that passes: of each group at least one text. The store can
        leave others out without decoding them.
        """
        return [
            [unescaped(wanted) for wanted in term.wanted]
            for term in self.terms
            if term.field.is_stored and not term.modifier
        ]

    def passes(self, candidate: T) -> bool:
        """Whether the candidate passes every term."""
        return all(term.passes(candidate) for term in self.terms)


def parse_search(
    parameters: Parameters, fields: Fields[T], *, ignores_unsupported: bool = False
) -> Search[T]:
    """Checks the parameters of a request that select; raises `Malformed` naming the parameter."""
    terms: list[SearchTerm[T]] = []
    used: list[tuple[str, str]] = []
    ignored: list[Issue] = []
    for name, value in parameters:
        code, _, modifier = name.partition(":")
        if code in RESULT_PARAMETERS:
            continue
        field = fields.get(code)
        if field is not None and value.strip():
            terms.append(_term(name, field, modifier, value))
            used.append((name, value))
            continue
        if field is None:
            supported = ", ".join(sorted(fields))
            text = f"The search parameter {code!r} is not supported. Supported are {supported}."
            issue = Issue("not-supported", text, code)
        else:
            issue = Issue("value", f"{name} has no value.", code)
        if not ignores_unsupported:
            raise Malformed(issue)
        ignored.append(replace(issue, text=f"{issue.text} It was ignored.", severity="warning"))
    return Search(terms, used, tuple(ignored))


def _term(name: str, field: SearchField[T], modifier: str, value: str) -> SearchTerm[T]:
    wanted = tuple(split_values(value))
    if not all(wanted):
        raise Malformed(Issue("value", f"{name} has an empty value. Send a value or leave it out.", name))
    if modifier == "missing":
        if value not in {"true", "false"}:
            raise Malformed(Issue("value", f"{name} takes true or false, not {value!r}.", name))
    elif modifier and modifier not in _allowed_modifiers(field.type, modifier):
        text = f"A {field.type} parameter does not support the modifier :{modifier}. Leave it out."
        raise Malformed(Issue("not-supported", text, name))
    elif field.type is ParameterType.DATE:
        for date in wanted:
            if not check_date(date):
                raise Malformed(Issue("value", f"{name} takes a date, not {date!r}.", name))
    return SearchTerm(field, modifier, wanted)


def _allowed_modifiers(parameter_type: ParameterType, modifier: str) -> frozenset[str]:
    # the modifier of a reference may be the type of its target
    is_type = parameter_type is ParameterType.REFERENCE and modifier.isalpha() and modifier[:1].isupper()
    return frozenset({modifier}) if is_type else _MODIFIERS.get(parameter_type, frozenset())
