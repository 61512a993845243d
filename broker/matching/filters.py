"""Filters compiled to closures over a resource. `NaiveMatcher` and, where no lookup decides, the index
evaluate them.

A filter that can't be evaluated exactly is refused when it is compiled. A compiled filter raises
EvaluationFailed on a resource on which it can't be evaluated; that is never a pass (R-410).
"""

from collections.abc import Callable
from typing import Any, assert_never

from broker.matching.context import SearchContext
from broker.matching.dates import compare_dates, date_interval, date_span
from broker.matching.extract import compile_extractor
from broker.matching.problems import EvaluationFailed
from broker.matching.quantities import (
    SearchQuantity,
    Span,
    compare_numbers,
    compare_quantity,
    decimal_of,
    parse_number,
    parse_quantity,
)
from broker.matching.references import reference_targets, reference_test
from broker.matching.strings import string_test, uri_test
from broker.matching.support import modifier_of, unsupported
from broker.matching.tokens import token_test
from broker.matching.values import BadFilter, BadValue, ElementTest, split, split_prefix, unescape
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

Test = Callable[[dict[str, Any]], bool]
_NEGATED = frozenset({Modifier.NOT.value, Modifier.NOT_IN.value})


def compile_filter(
    filter_: Filter, parameter: SearchParameter, release: Release, context: SearchContext
) -> Test:
    """Raises BadFilter or BadValue; the test raises EvaluationFailed. `release` is that of the resources it
    tests.

    Chained filters are compiled by `chains.compile_chain`.
    """
    reason = unsupported(filter_, parameter)
    if reason is not None:
        raise BadFilter(f"{filter_.parameter} {reason}")
    test = _compile(filter_, parameter, release, context)

    def passes(resource: dict[str, Any]) -> bool:
        try:
            return test(resource)
        except (BadValue, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise EvaluationFailed(f"{parameter.code}: {error}") from error

    return passes


def _compile(filter_: Filter, parameter: SearchParameter, release: Release, context: SearchContext) -> Test:
    extract = compile_extractor(parameter.expression, release)
    if filter_.modifier == Modifier.MISSING:
        if filter_.value not in {"true", "false"}:
            raise BadValue(":missing takes true or false")
        is_missing = filter_.value == "true"
        return lambda resource: (not extract(resource)) is is_missing
    texts = split(filter_.value, ",")
    if parameter.type is ParameterType.COMPOSITE:
        alternatives = [_composite(text, parameter, release, context) for text in texts]
    else:
        targets = reference_targets(parameter)
        alternatives = [_alternative(text, filter_, parameter.type, targets, context) for text in texts]
    matches = _any(alternatives)

    def test(resource: dict[str, Any]) -> bool:
        return any(matches(node.value, resource) for node in extract(resource))

    if filter_.modifier in _NEGATED:  # no repetition may match
        return lambda resource: not test(resource)
    return test


def _any(alternatives: list[ElementTest]) -> ElementTest:
    if len(alternatives) == 1:
        return alternatives[0]
    return lambda element, resource: any(matches(element, resource) for matches in alternatives)


def _composite(
    text: str, parameter: SearchParameter, release: Release, context: SearchContext
) -> ElementTest:
    """All components must match within the same element."""
    parts = split(text, "$")
    if len(parts) != len(parameter.components):
        raise BadValue(f"takes {len(parameter.components)} parts joined by $")
    plain = Filter(parameter.code, "")
    tests = [
        (
            compile_extractor(component.expression, release),
            _alternative(part, plain, component.type, (), context),
        )
        for component, part in zip(parameter.components, parts, strict=True)
    ]

    def matches(element: Any, resource: dict[str, Any]) -> bool:
        return all(any(match(node.value, resource) for node in extract(element)) for extract, match in tests)

    return matches


def _alternative(
    text: str,
    filter_: Filter,
    parameter_type: ParameterType,
    targets: tuple[str, ...],
    context: SearchContext,
) -> ElementTest:
    """The test for one alternative of a search value, whose escapes are still in the text."""
    if not text.strip():
        raise BadValue("the value is empty")
    modifier = modifier_of(filter_.modifier) if filter_.modifier is not None else None
    match parameter_type:
        case ParameterType.NUMBER | ParameterType.DATE | ParameterType.QUANTITY:
            return _ordered(parameter_type, text, filter_.comparator)
        case ParameterType.TOKEN:
            return token_test(text, modifier, context.value_sets)
        case ParameterType.REFERENCE:
            if filter_.modifier is not None and modifier is Modifier.TYPE:
                targets = (filter_.modifier,) if filter_.modifier[0].isupper() else ()
            return reference_test(text, modifier, targets, context.base_urls)
        case ParameterType.STRING:
            return string_test(unescape(text), modifier)
        case ParameterType.URI:
            return uri_test(unescape(text), modifier)
        case ParameterType.COMPOSITE | ParameterType.SPECIAL:
            raise BadFilter("is not implemented")
        case _:
            assert_never(parameter_type)


def _ordered(parameter_type: ParameterType, text: str, explicit: Comparator | None) -> ElementTest:
    comparator, value = split_prefix(text)
    if explicit is not None:
        if value != text:
            raise BadValue("it has two comparators: one of the filter and one before the value")
        comparator = explicit
    if parameter_type is ParameterType.DATE:
        interval = date_interval(value)

        def date_matches(element: Any, resource: dict[str, Any]) -> bool:
            span = date_span(element)
            now = _time_of_change(resource) if comparator is Comparator.AP else None
            return span is not None and compare_dates(comparator, span, interval, now)

        return date_matches
    if parameter_type is ParameterType.QUANTITY:
        quantity = parse_quantity(value)
        return lambda element, _: compare_quantity(comparator, element, quantity)
    number = parse_number(value)
    in_any_unit = SearchQuantity(number, None, None)

    def number_matches(element: Any, _: dict[str, Any]) -> bool:
        if isinstance(element, dict):  # a Range
            return compare_quantity(comparator, element, in_any_unit)
        exact = decimal_of(element)
        return compare_numbers(comparator, Span(exact, exact), number)

    return number_matches


def _time_of_change(resource: dict[str, Any]) -> int | None:
    """Not the time of the evaluation, so that a change that is matched again gives the same matches."""
    updated = resource.get("meta", {}).get("lastUpdated")
    return None if updated is None else date_interval(updated).low
