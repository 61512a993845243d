"""What a stored resource is indexed by, and which entries of the index a filter names. Pure.

An index gives candidates and the filter decides (decision 291), so entries are coarse: a token by its code, a
reference by its target, a date by its first millisecond. Each resource that passes a filter has one of the
entries that the filter names; others may have one too.
"""

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from broker.matching.context import SearchContext
from broker.matching.dates import Interval, date_span, microseconds
from broker.matching.paths import compile_values
from broker.matching.predicates import LookupKey, PredicateKind, draft_predicates
from broker.matching.problems import READ_ERRORS
from broker.matching.references import normal_reference, reference_text
from broker.matching.tokens import token_pairs
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Filter, ParameterType, SearchParameter

MAX_COMBINATIONS = 16
"""Terms of one resource in one index; with more it is found by every search that uses the index."""
MAX_ALTERNATIVES = 64
"""Terms of one filter, or of filters together."""
DAY_MS = 86_400_000
NO_DATE = 9 * 10**15
"""The score of a resource without a date: after all others."""
MIN_DATE = -(10**15)
"""The score of a period without a beginning."""
_EPOCH = microseconds(datetime(1970, 1, 1, tzinfo=UTC))
_DEFINITION = re.compile(r"([a-z_][A-Za-z\-]*(?:\+[a-z_][A-Za-z\-]*)*)(@date)?")
_NARROWED = re.compile(r"(.+)\.where\(resolve\(\) is \w+\)")
_TYPED = re.compile(r"\.ofType\(\w+\)| as \w+")
_ANY = ("*",)
"""Of a resource with more combinations than an index takes."""
_INDEXED_TYPES = frozenset({ParameterType.TOKEN, ParameterType.REFERENCE, ParameterType.URI})
_KEYED_KINDS = frozenset({PredicateKind.TOKEN, PredicateKind.REFERENCE, PredicateKind.URI})


class IndexDefinition(NamedTuple):
    """One index of a type: the parameters that its terms join, and whether its sets are in the order of the
    clinical date instead of that of the version.
    """

    parameters: tuple[str, ...]
    is_by_date: bool = False

    def __str__(self) -> str:
        return "+".join(self.parameters) + ("@date" if self.is_by_date else "")


def parse_definition(text: str) -> IndexDefinition:
    """Reads `subject+code@date`. Raises `BadFilter`."""
    parts = _DEFINITION.fullmatch(text)
    if parts is None:
        raise BadFilter(f"{text!r} is not an index: write parameters joined by +, and @date behind them")
    parameters = tuple(parts[1].split("+"))
    if len(set(parameters)) != len(parameters):
        raise BadFilter(f"{text!r} names a parameter twice")
    return IndexDefinition(parameters, parts[2] is not None)


class SetKind(StrEnum):
    """The first letter of the name of a set: what its scores are. The letter alone names the set of all
    resources of the type.
    """

    MOMENT = "m"  # the moment of the version
    DATE = "d"  # the first millisecond of the date; `NO_DATE` without one
    LONG_DATE = "l"  # the same, of resources with several dates, or with one that is longer than a day


class IndexEntries(NamedTuple):
    """The sets that a resource is in, and its score in those of dates."""

    sets: tuple[str, ...]
    date: int


@lru_cache(maxsize=4096)
def set_name(kind: SetKind, definition: IndexDefinition, values: tuple[str, ...]) -> str:
    """The name of the set of resources with these values, one for each parameter of the definition."""
    text = "\x1f".join((str(definition), *values))
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return kind.value + base64.urlsafe_b64encode(digest).decode().rstrip("=")


class ResourceIndexer:
    """Makes the entries of the resources of one type in one release.

    A parameter that the release does not have, or that has no codes or references, has no values.
    """

    def __init__(
        self,
        resource_type: str,
        release: Release,
        definitions: Sequence[IndexDefinition],
        context: SearchContext,
    ) -> None:
        self._definitions = definitions
        self._base_urls = context.base_urls
        codes = {code for definition in definitions for code in definition.parameters}
        found = {code: context.parameters.find(release, resource_type, code) for code in codes | {"date"}}
        self._parameters = {
            code: (parameter.type, compile_values(parameter.expression, release))
            for code, parameter in found.items()
            if parameter is not None and parameter.type in _INDEXED_TYPES
        }
        date = found["date"]
        is_dated = date is not None and date.type is ParameterType.DATE
        self._dates = compile_values(date.expression, release) if date is not None and is_dated else None

    def entries(self, state: Mapping[str, Any]) -> IndexEntries:
        """The entries of a resource. Elements that can't be read give none, as no filter passes them."""
        values = {code: self._values(code, state) for code in self._parameters}
        date_kind, date = self._date(state)
        sets: dict[str, None] = {SetKind.MOMENT.value: None}
        if self._dates is not None:
            sets[date_kind.value] = None
        for definition in self._definitions:
            kind = date_kind if definition.is_by_date else SetKind.MOMENT
            parts = [values.get(code, ()) for code in definition.parameters]
            combinations = list(itertools.islice(itertools.product(*parts), MAX_COMBINATIONS + 1))
            if len(combinations) > MAX_COMBINATIONS:
                combinations = [_ANY]
            sets |= dict.fromkeys(set_name(kind, definition, each) for each in combinations)
        return IndexEntries(tuple(sets), date)

    def date(self, state: Mapping[str, Any]) -> int:
        """The score of a resource in the order of dates: that of its earliest."""
        return self._date(state)[1]

    def _date(self, state: Mapping[str, Any]) -> tuple[SetKind, int]:
        spans: list[Interval] = []
        try:
            for element in self._dates(state) if self._dates is not None else ():
                span = date_span(element)
                spans += [span] if span is not None else []
        except READ_ERRORS:
            pass  # what comes before the element counts
        if not spans:
            return SetKind.DATE, NO_DATE
        first = min(spans)
        is_long = len(spans) > 1 or first.high - first.low > DAY_MS * 1000
        return SetKind.LONG_DATE if is_long else SetKind.DATE, moment_of(first.low)

    def _values(self, code: str, state: Mapping[str, Any]) -> tuple[str, ...]:
        parameter_type, extract = self._parameters[code]
        values: dict[str, None] = {}
        try:
            for element in extract(state):
                for value in _element_values(parameter_type, element, self._base_urls):
                    values[value] = None
        except READ_ERRORS:
            pass  # what comes before the element counts
        return tuple(values)


def moment_of(microsecond: int) -> int:
    """A moment of `Interval` as a score: milliseconds since 1970, within what a score can hold."""
    return max(MIN_DATE, min(NO_DATE - 1, (microsecond - _EPOCH) // 1000))


def _element_values(parameter_type: ParameterType, element: Any, base_urls: frozenset[str]) -> Iterator[str]:
    match parameter_type:
        case ParameterType.TOKEN:
            for _, code in token_pairs(element):
                if isinstance(code, str):
                    yield code
        case ParameterType.REFERENCE:
            text = reference_text(element)
            if text is not None:
                yield _unversioned(normal_reference(text, base_urls))
        case _:
            if isinstance(element, str):
                yield _unversioned(element)


def _unversioned(text: str) -> str:
    return text.partition("|")[0]


def can_be_indexed(resource_type: str, code: str, context: SearchContext) -> bool:
    """Whether some release has the parameter for the type, with values that entries can have."""
    found = (context.parameters.find(release, resource_type, code) for release in Release)
    return any(each is not None and each.type in _INDEXED_TYPES for each in found)


def has_same_meaning(resource_type: str, code: str, context: SearchContext) -> bool:
    """Whether a parameter selects the same elements in each release that has it, so that the entries of one
    release serve a search in another.
    """
    found = (context.parameters.find(release, resource_type, code) for release in Release)
    return len({(each.type, _paths(each)) for each in found if each is not None}) == 1


def _paths(parameter: SearchParameter) -> frozenset[str]:
    """The paths of an expression, without the types of choice elements."""
    parts = parameter.expression.split("|")
    return frozenset(_TYPED.sub("", part).strip().strip("()").strip() for part in parts)


def index_parameter(
    resource_type: str, release: Release, code: str, indexed: Iterable[str], context: SearchContext
) -> str | None:
    """The indexed parameter whose entries serve the parameter: itself, or one of which it selects a part, as
    `patient` does of `subject`. None if there is none.
    """
    codes = frozenset(indexed)
    if code in codes:
        return code
    parameter = context.parameters.find(release, resource_type, code)
    narrowed = _NARROWED.fullmatch(parameter.expression) if parameter is not None else None
    if narrowed is None:
        return None
    for candidate in sorted(codes):
        wider = context.parameters.find(release, resource_type, candidate)
        if wider is not None and wider.expression == narrowed[1]:
            return candidate
    return None


def filter_values(
    filter_: Filter, parameter: SearchParameter, context: SearchContext
) -> frozenset[str] | None:
    """The values of entries that a resource has if it passes the filter; None if it may have any. Raises
    `BadFilter` or `BadValue`.
    """
    drafts = draft_predicates(filter_, parameter, context)
    if len(drafts) != 1 or drafts[0].kind not in _KEYED_KINDS or not drafts[0].keys:
        return None
    is_token = drafts[0].kind is PredicateKind.TOKEN
    values = {_code_of(key) if is_token else _unversioned(str(key)) for key in drafts[0].keys}
    return None if None in values else frozenset(value for value in values if value is not None)


def _code_of(key: LookupKey) -> str | None:
    """The code of a token; None for a system without a code."""
    if isinstance(key, str):
        return key
    return key[1] if len(key) == 2 else None


def filter_combinations(values: Sequence[frozenset[str]]) -> list[tuple[str, ...]] | None:
    """The values of sets that together have every resource with one of the values of each parameter; None if
    they are too many.
    """
    combinations = list(itertools.islice(itertools.product(*map(sorted, values)), MAX_ALTERNATIVES + 1))
    return None if len(combinations) > MAX_ALTERNATIVES else [_ANY, *combinations]
