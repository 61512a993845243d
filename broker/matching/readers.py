"""What a focus says to the index: the keys and spans of one parameter, read once a change.

Elements are read in the order in which filters test them, up to the first that can't be: what comes before it counts, as it
does for a filter that passes before it gets there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from broker.errors import BrokerError
from broker.matching.chains import ChainTest
from broker.matching.dates import date_span
from broker.matching.extract import Extractor, compile_extractor
from broker.matching.paths import compile_values
from broker.matching.predicates import Bound, Key, Kind, Range, Unit
from broker.matching.problems import EvaluationFailed
from broker.matching.quantities import (
    Span,
    WantedQuantity,
    decimal_of,
    quantity_span,
    wanted_number,
)
from broker.matching.references import normal_reference, plain_reference, reference_text
from broker.matching.states import RelatedStates
from broker.matching.strings import string_parts
from broker.matching.tokens import token_pairs
from broker.model.release import Release
from broker.model.search import SearchParameter

FAILURES = (BrokerError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What a resource that isn't as FHIR defines it brings about."""

_ANY_NUMBER = wanted_number("0")


@dataclass(slots=True)
class Said:
    """The keys of one parameter. `loose` are codes without a system: they match whatever system is wanted (R-403)."""

    keys: set[Key] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    failure: str | None = None

    def says(self, wanted: frozenset[Key]) -> bool:
        if not self.keys.isdisjoint(wanted):
            return True
        return bool(self.loose) and any(
            isinstance(one, tuple) and len(one) == 2 and one[1] in self.loose for one in wanted
        )


NOTHING_SAID = Said()


class Extremes(NamedTuple):
    """Of the spans of all elements, in the order of `Axis`."""

    max_high: Bound
    max_low: Bound
    min_low: Bound
    min_high: Bound


class Measured(NamedTuple):
    """`extremes` is None where no element has a span in the unit."""

    extremes: Extremes | None = None
    failure: str | None = None

    def passes(self, wanted: Range) -> bool:
        if self.extremes is None:
            return False
        extreme: Any = self.extremes[
            wanted.axis
        ]  # of the same kind as the bound, both coming from one parameter
        if extreme == wanted.bound:
            return not wanted.is_strict
        return bool((extreme > wanted.bound) is wanted.axis.is_max)


NOTHING_MEASURED = Measured()


_Take = Callable[[Any, Said], None]
_Measure = Callable[[Any, WantedQuantity], tuple[Bound, Bound] | None]


class Reader:
    """Reads one parameter, or one component of a composite."""

    def __init__(
        self, parameter: SearchParameter, kind: Kind, part: int, release: Release, base_urls: frozenset[str]
    ) -> None:
        self._code = parameter.code
        self._take = taking(kind, base_urls)
        self._measure = _MEASURES.get(kind, _number)
        self._values = compile_values(parameter.expression, release)
        self._component: Extractor | None = None
        if part >= 0:
            self._component = compile_extractor(parameter.components[part].expression, release)

    def said(self, state: dict[str, Any], _related: RelatedStates) -> Said:
        said = Said()
        try:
            for value in self._elements(state):
                try:
                    self._take(value, said)
                except FAILURES:
                    if self._component is None:
                        raise
        except EvaluationFailed as error:
            said.failure = str(error)
        except FAILURES as error:
            said.failure = f"{self._code}: {error}"
        return said

    def measured(self, state: dict[str, Any], unit: Unit) -> Measured:
        wanted = WantedQuantity(_ANY_NUMBER, *unit)
        spans: list[tuple[Bound, Bound]] = []
        failure: str | None = None
        try:
            for value in self._elements(state):
                try:
                    span = self._measure(value, wanted)
                except FAILURES:
                    if self._component is None:
                        raise
                    continue
                if span is not None:
                    spans.append(span)
        except EvaluationFailed as error:
            failure = str(error)
        except FAILURES as error:
            failure = f"{self._code}: {error}"
        if not spans:
            return Measured(None, failure)
        lows, highs = zip(*spans, strict=True)
        return Measured(Extremes(max(highs), max(lows), min(lows), min(highs)), failure)

    def _elements(self, state: dict[str, Any]) -> Iterable[Any]:
        if self._component is None:
            return self._values(state)
        return self._parts(self._component, state)

    def _parts(self, component: Extractor, state: dict[str, Any]) -> Iterable[Any]:
        """An element that can't be read may be one that the other components rule out first: those behind it count too."""
        for value in self._values(state):
            try:
                found = [one.value for one in component(value)]
            except FAILURES:
                continue
            yield from found


class ChainReader:
    """Reads a parameter of the resources that the focus refers to."""

    def __init__(
        self,
        reference: SearchParameter,
        ends: Iterable[tuple[Release, str, SearchParameter]],
        kind: Kind,
        release: Release,
        base_urls: frozenset[str],
    ) -> None:
        self._take = taking(kind, base_urls)
        self._said = Said()
        collectors = {(one, target): self._collector(parameter, one) for one, target, parameter in ends}
        self._walk = ChainTest(reference, base_urls, release, collectors)

    def said(self, state: dict[str, Any], related: RelatedStates) -> Said:
        self._said = said = Said()
        try:
            self._walk.passes(state, related)
        except FAILURES as error:
            said.failure = str(error)
        return said

    def measured(self, _state: dict[str, Any], _unit: Unit) -> Measured:
        """Chains are looked up by keys only."""
        return NOTHING_MEASURED

    def _collector(self, parameter: SearchParameter, release: Release) -> Callable[[dict[str, Any]], bool]:
        """A test that no target passes, so that all of them are looked at."""
        values = compile_values(parameter.expression, release)

        def collect(state: dict[str, Any]) -> bool:
            try:
                for value in values(state):
                    self._take(value, self._said)
            except EvaluationFailed:
                raise
            except FAILURES as error:
                raise EvaluationFailed(f"{parameter.code}: {error}") from error
            return False

        return collect


AnyReader = Reader | ChainReader


@lru_cache(maxsize=4096)
def reader_of(
    parameter: SearchParameter, kind: Kind, part: int, release: Release, base_urls: frozenset[str]
) -> Reader:
    """The same for all topics, so that a focus is read once for all of them. Raises BadExpression."""
    return Reader(parameter, kind, part, release, base_urls)


def taking(kind: Kind, base_urls: frozenset[str]) -> _Take:
    """How an element becomes keys. What it raises is among FAILURES."""
    if kind is Kind.REFERENCE:
        return _reference_taker(base_urls)
    return _TAKES.get(kind, _take_token)


def _take_token(element: Any, said: Said) -> None:
    for system, code in token_pairs(element):
        if isinstance(code, str):
            said.keys.add(code)
            if system is None:
                said.loose.add(code)
            elif isinstance(system, str):
                said.keys.add((system, code))
        if isinstance(system, str):
            said.keys.add((system,))


def _take_identifier(element: Any, said: Said) -> None:
    identifier = plain_reference(element).get("identifier") if isinstance(element, dict) else None
    if identifier is not None:
        _take_token(identifier, said)


def _take_typed(element: Any, said: Said) -> None:
    number = element.get("value") if isinstance(element, dict) else None
    if isinstance(number, str):
        said.keys.add(number)


def _take_uri(element: Any, said: Said) -> None:
    if isinstance(element, str):
        said.keys.add(element)
    if "|" in element:
        said.keys.add(element.split("|", 1)[0])


def _take_string(element: Any, said: Said) -> None:
    parts: list[Any] = string_parts(element)  # of a resource that isn't as FHIR defines it, anything
    said.keys.update(one for one in parts if isinstance(one, str))


_TAKES: dict[Kind, _Take] = {
    Kind.TOKEN: _take_token,
    Kind.IDENTIFIER: _take_identifier,
    Kind.TYPED_IDENTIFIER: _take_typed,
    Kind.URI: _take_uri,
    Kind.EXACT_STRING: _take_string,
}


def _reference_taker(base_urls: frozenset[str]) -> _Take:
    bases = tuple(base_urls)

    def take(element: Any, said: Said) -> None:
        text = reference_text(element)
        if text is None:
            return
        if text.startswith(bases) or "/_history/" in text:
            text = normal_reference(text, base_urls)
        said.keys.add(text)
        if "|" in text:
            said.keys.add(text.split("|", 1)[0])

    return take


def _number(element: Any, wanted: WantedQuantity) -> Span | None:
    if isinstance(element, dict):  # a Range
        return quantity_span(element, wanted)
    exact: Decimal = decimal_of(element)
    return Span(exact, exact)


_MEASURES: dict[Kind, _Measure] = {
    Kind.NUMBER: _number,
    Kind.QUANTITY: quantity_span,
    Kind.DATE: lambda element, _: date_span(element),
}
