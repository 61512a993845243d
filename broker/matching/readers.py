"""Readers extract the keys, or the extremes of the numbers and dates, of one search parameter from a focus.

A reader reads the elements in the order in which filters test them, up to the first that can't be read: what
comes before it counts, as for a filter that passes before it reaches that element.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from broker.matching.chains import ChainEnd, ResolvedTarget, chain_resolver
from broker.matching.change_states import RelatedStates
from broker.matching.context import SearchContext
from broker.matching.dates import date_span
from broker.matching.extract import Extractor, compile_extractor
from broker.matching.keys import ExtractedKeys, key_extractor
from broker.matching.paths import compile_values
from broker.matching.predicates import Bound, PredicateKind, Threshold, Unit
from broker.matching.problems import READ_ERRORS, EvaluationFailed
from broker.matching.quantities import SearchQuantity, Span, decimal_of, parse_number, quantity_span
from broker.model.release import Release
from broker.model.search import SearchParameter

_ANY_NUMBER = parse_number("0")


class Extremes(NamedTuple):
    """The extremes of the spans of all elements, in the order of `Extreme`."""

    max_high: Bound
    max_low: Bound
    min_low: Bound
    min_high: Bound


class ExtractedExtremes(NamedTuple):
    """The extremes of one parameter of one focus; None if no element has a span in the unit."""

    extremes: Extremes | None = None
    failure: str | None = None

    def passes(self, threshold: Threshold) -> bool:
        if self.extremes is None:
            return False
        # the extreme and the bound belong to the same parameter, so they have the same type
        extreme: Any = self.extremes[threshold.extreme]
        if extreme == threshold.bound:
            return not threshold.is_strict
        return bool((extreme > threshold.bound) is threshold.extreme.is_max)


NO_KEYS = ExtractedKeys()
NO_EXTREMES = ExtractedExtremes()
_Measure = Callable[[Any, SearchQuantity], tuple[Bound, Bound] | None]


class ParameterReader:
    """Reads one parameter, or one component of a composite."""

    def __init__(
        self,
        parameter: SearchParameter,
        kind: PredicateKind,
        component: int,
        release: Release,
        context: SearchContext,
    ) -> None:
        self._code = parameter.code
        self._add_keys = key_extractor(kind, context.base_urls)
        self._measure = _MEASURES.get(kind, _number)
        self._values = compile_values(parameter.expression, release)
        self._component: Extractor | None = None
        if component >= 0:
            self._component = compile_extractor(parameter.components[component].expression, release)

    def read_keys(self, state: dict[str, Any], _related: RelatedStates) -> ExtractedKeys:
        extracted = ExtractedKeys()
        try:
            for element in self._elements(state):
                try:
                    self._add_keys(element, extracted)
                except READ_ERRORS:
                    if self._component is None:
                        raise
        except EvaluationFailed as error:
            extracted.failure = str(error)
        except READ_ERRORS as error:
            extracted.failure = f"{self._code}: {error}"
        return extracted

    def read_extremes(self, state: dict[str, Any], unit: Unit) -> ExtractedExtremes:
        searched = SearchQuantity(_ANY_NUMBER, *unit)
        spans: list[tuple[Bound, Bound]] = []
        failure: str | None = None
        try:
            for element in self._elements(state):
                try:
                    span = self._measure(element, searched)
                except READ_ERRORS:
                    if self._component is None:
                        raise
                    continue
                if span is not None:
                    spans.append(span)
        except EvaluationFailed as error:
            failure = str(error)
        except READ_ERRORS as error:
            failure = f"{self._code}: {error}"
        if not spans:
            return ExtractedExtremes(None, failure)
        lows, highs = zip(*spans, strict=True)
        return ExtractedExtremes(Extremes(max(highs), max(lows), min(lows), min(highs)), failure)

    def _elements(self, state: dict[str, Any]) -> Iterable[Any]:
        if self._component is None:
            return self._values(state)
        return self._component_elements(self._component, state)

    def _component_elements(self, component: Extractor, state: dict[str, Any]) -> Iterable[Any]:
        """Skips an element that can't be read: another component may rule it out, so the elements behind it
        count.
        """
        for value in self._values(state):
            try:
                elements = [node.value for node in component(value)]
            except READ_ERRORS:
                continue
            yield from elements


class ChainReader:
    """Reads one parameter of the resources that a reference of the focus points at."""

    def __init__(
        self,
        reference: SearchParameter,
        ends: tuple[ChainEnd, ...],
        kind: PredicateKind,
        release: Release,
        context: SearchContext,
    ) -> None:
        self._add_keys = key_extractor(kind, context.base_urls)
        self._resolver = chain_resolver(reference, ends, release, context)
        self._values = {
            (end.release, end.resource_type): (
                end.parameter.code,
                compile_values(end.parameter.expression, end.release),
            )
            for end in ends
        }

    def read_keys(self, state: dict[str, Any], related: RelatedStates) -> ExtractedKeys:
        """The keys of all targets. A target that can't be resolved or read does not hide the keys of the
        others.
        """
        extracted = ExtractedKeys()
        try:
            references = self._resolver.references(state)
        except EvaluationFailed as error:
            extracted.failure = str(error)
            return extracted
        for reference in references:
            try:
                target = self._resolver.resolve(reference, state, related)
                if target is not None:
                    self._read_target(target, extracted)
            except READ_ERRORS as error:
                extracted.failure = str(error)
        return extracted

    def read_extremes(self, _state: dict[str, Any], _unit: Unit) -> ExtractedExtremes:
        """The planner looks chains up by keys only."""
        return NO_EXTREMES

    def _read_target(self, target: ResolvedTarget, extracted: ExtractedKeys) -> None:
        code, values = self._values.get((target.release, target.resource_type), ("", None))
        if values is None:
            return
        try:
            for element in values(target.state):
                self._add_keys(element, extracted)
        except EvaluationFailed:
            raise
        except READ_ERRORS as error:
            raise EvaluationFailed(f"{code}: {error}") from error


Reader = ParameterReader | ChainReader


@lru_cache(maxsize=4096)
def reader_of(
    parameter: SearchParameter,
    kind: PredicateKind,
    component: int,
    release: Release,
    context: SearchContext,
) -> ParameterReader:
    """The same reader for all topics, so that a focus is read once for all of them. Raises BadExpression."""
    return ParameterReader(parameter, kind, component, release, context)


def _number(element: Any, searched: SearchQuantity) -> Span | None:
    if isinstance(element, dict):  # a Range
        return quantity_span(element, searched)
    exact: Decimal = decimal_of(element)
    return Span(exact, exact)


_MEASURES: dict[PredicateKind, _Measure] = {
    PredicateKind.NUMBER: _number,
    PredicateKind.QUANTITY: quantity_span,
    PredicateKind.DATE: lambda element, _: date_span(element),
}
