"""Filters as closures over a resource: the naive evaluator, and the oracle for any quicker one.

What can't be evaluated exactly is refused when compiled. A compiled filter raises EvaluationFailed on a resource it can't be
evaluated on: that is never a pass (R-410).
"""

from collections.abc import Callable
from typing import Any, assert_never

from broker.matching.dates import compare_dates, date_interval, date_span
from broker.matching.extract import compile_extractor
from broker.matching.problems import EvaluationFailed
from broker.matching.quantities import (
    Span,
    WantedQuantity,
    compare_numbers,
    compare_quantity,
    decimal_of,
    wanted_number,
    wanted_quantity,
)
from broker.matching.references import reference_targets, reference_test
from broker.matching.strings import string_test, uri_test
from broker.matching.support import modifier_of, unsupported
from broker.matching.tokens import token_test
from broker.matching.values import BadFilter, BadValue, ElementTest, split, split_prefix, unescape
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

__all__ = ["BadFilter", "Test", "compile_filter"]

Test = Callable[[dict[str, Any]], bool]
_OPPOSITES = frozenset({Modifier.NOT.value, Modifier.NOT_IN.value})


def compile_filter(
    wanted: Filter,
    parameter: SearchParameter,
    base_urls: frozenset[str] = frozenset(),
    release: Release = Release.R5,
    value_sets: ValueSets = NO_VALUE_SETS,
) -> Test:
    """Raises BadFilter or BadValue; the test raises EvaluationFailed. `release` is that of the resources it will see.

    A chained filter is no test of one resource: `chains.compile_chain` takes it.
    """
    reason = unsupported(wanted, parameter)
    if reason is not None:
        raise BadFilter(f"{wanted.parameter} {reason}")
    test = _compile(wanted, parameter, base_urls, release, value_sets)

    def passes(resource: dict[str, Any]) -> bool:
        try:
            return test(resource)
        except (BadValue, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise EvaluationFailed(f"{parameter.code}: {error}") from error

    return passes


def _compile(
    wanted: Filter,
    parameter: SearchParameter,
    base_urls: frozenset[str],
    release: Release,
    value_sets: ValueSets,
) -> Test:
    extract = compile_extractor(parameter.expression, release)
    if wanted.modifier == Modifier.MISSING:
        if wanted.value not in {"true", "false"}:
            raise BadValue(":missing is true or false")
        is_missing = wanted.value == "true"
        return lambda resource: (not extract(resource)) is is_missing
    texts = split(wanted.value, ",")
    if parameter.type is ParameterType.COMPOSITE:
        alternatives = [_composite(text, parameter, base_urls, release) for text in texts]
    else:
        targets = reference_targets(parameter)
        alternatives = [
            _matches(text, wanted, parameter.type, targets, base_urls, value_sets) for text in texts
        ]
    matches = _any(alternatives)

    def test(resource: dict[str, Any]) -> bool:
        return any(matches(node.value, resource) for node in extract(resource))

    if wanted.modifier in _OPPOSITES:  # none of the repetitions may match
        return lambda resource: not test(resource)
    return test


def _any(alternatives: list[ElementTest]) -> ElementTest:
    if len(alternatives) == 1:
        return alternatives[0]
    return lambda element, resource: any(matches(element, resource) for matches in alternatives)


def _composite(
    text: str, parameter: SearchParameter, base_urls: frozenset[str], release: Release
) -> ElementTest:
    """All components match within one and the same element."""
    parts = split(text, "$")
    if len(parts) != len(parameter.components):
        raise BadValue(f"takes {len(parameter.components)} parts joined by $")
    plain = Filter(parameter.code, "")
    tests = [
        (
            compile_extractor(one.expression, release),
            _matches(part, plain, one.type, (), base_urls, NO_VALUE_SETS),
        )
        for one, part in zip(parameter.components, parts, strict=True)
    ]

    def matches(element: Any, resource: dict[str, Any]) -> bool:
        return all(any(match(node.value, resource) for node in extract(element)) for extract, match in tests)

    return matches


def _matches(
    text: str,
    wanted: Filter,
    kind: ParameterType,
    targets: tuple[str, ...],
    base_urls: frozenset[str],
    value_sets: ValueSets,
) -> ElementTest:
    """One alternative of a search value, its escapes still in it."""
    if not text.strip():
        raise BadValue("an empty value")
    modifier = modifier_of(wanted.modifier) if wanted.modifier is not None else None
    match kind:
        case ParameterType.NUMBER | ParameterType.DATE | ParameterType.QUANTITY:
            return _ordered(kind, text, wanted.comparator)
        case ParameterType.TOKEN:
            return token_test(text, modifier, value_sets)
        case ParameterType.REFERENCE:
            if wanted.modifier is not None and modifier is Modifier.TYPE:
                targets = (wanted.modifier,) if wanted.modifier[0].isupper() else ()
            return reference_test(text, modifier, targets, base_urls)
        case ParameterType.STRING:
            return string_test(unescape(text), modifier)
        case ParameterType.URI:
            return uri_test(unescape(text), modifier)
        case ParameterType.COMPOSITE | ParameterType.SPECIAL:
            raise BadFilter("is not implemented")
        case _:
            assert_never(kind)


def _ordered(kind: ParameterType, text: str, asked: Comparator | None) -> ElementTest:
    comparator, rest = split_prefix(text)
    if asked is not None:
        if rest != text:
            raise BadValue("a comparator twice: as such and before the value")
        comparator = asked
    text = rest
    if kind is ParameterType.DATE:
        interval = date_interval(text)

        def date_matches(element: Any, resource: dict[str, Any]) -> bool:
            span = date_span(element)
            now = _now(resource) if comparator is Comparator.AP else None
            return span is not None and compare_dates(comparator, span, interval, now)

        return date_matches
    if kind is ParameterType.QUANTITY:
        quantity = wanted_quantity(text)
        return lambda element, _: compare_quantity(comparator, element, quantity)
    number = wanted_number(text)
    anyhow = WantedQuantity(number, None, None)

    def number_matches(element: Any, _: dict[str, Any]) -> bool:
        if isinstance(element, dict):  # a Range
            return compare_quantity(comparator, element, anyhow)
        exact = decimal_of(element)
        return compare_numbers(comparator, Span(exact, exact), number)

    return number_matches


def _now(resource: dict[str, Any]) -> int | None:
    """The time of the change, not of the evaluation: a change matched again gives the same matches."""
    updated = resource.get("meta", {}).get("lastUpdated")
    return None if updated is None else date_interval(updated).low
