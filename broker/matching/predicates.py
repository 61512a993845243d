"""The parts of a filter that can be looked up instead of evaluated: keys that a focus must have, or a
threshold that one of its numbers must pass.

An exact draft passes the same foci as the compiled filter and is refused for the same values. A draft that is
not exact passes every focus that the filter passes, and more: then the filter is evaluated too. `planner`
turns drafts into predicates.
"""

from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

from broker.matching.context import SearchContext
from broker.matching.dates import date_interval
from broker.matching.quantities import parse_number, parse_quantity
from broker.matching.references import parse_reference, reference_targets
from broker.matching.support import ORDERED, modifier_of, unsupported
from broker.matching.tokens import parse_token
from broker.matching.values import BadFilter, BadValue, check_blanks, split, split_prefix, unescape
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

LookupKey = str | tuple[str, ...]
"""For a token `(system, code)`, `(system,)` or `code`; for anything else the text, a reference in its normal
form.
"""

Bound = Decimal | int
Unit = tuple[str | None, str | None]
"""System and code of the unit of a quantity filter; None if the filter leaves it open."""
NO_UNIT: Unit = (None, None)


class PredicateKind(IntEnum):
    """How the values of a parameter become keys. The higher the number, the more foci share a key."""

    REFERENCE = 1
    IDENTIFIER = 2
    TYPED_IDENTIFIER = 3
    URI = 4
    EXACT_STRING = 5
    TOKEN = 20
    NUMBER = 100
    QUANTITY = 101
    DATE = 102


class Extreme(IntEnum):
    """Which extreme of the spans of all elements decides whether any element passes."""

    MAX_HIGH = 0
    MAX_LOW = 1
    MIN_LOW = 2
    MIN_HIGH = 3

    @property
    def is_max(self) -> bool:
        return self <= Extreme.MAX_LOW


class Threshold(NamedTuple):
    """The extreme must be beyond the bound (above it for a maximum, below it for a minimum), or on it if not
    strict.
    """

    extreme: Extreme
    bound: Bound
    is_strict: bool
    unit: Unit = NO_UNIT


class PredicateDraft(NamedTuple):
    """One thing to look up: any of the keys, or the threshold. `component` is the index in a composite, else
    -1.
    """

    kind: PredicateKind
    component: int
    is_exact: bool
    keys: frozenset[LookupKey] = frozenset()
    threshold: Threshold | None = None


_ORDERED_KINDS = {
    ParameterType.NUMBER: PredicateKind.NUMBER,
    ParameterType.QUANTITY: PredicateKind.QUANTITY,
    ParameterType.DATE: PredicateKind.DATE,
}
_NUMBER_EXTREMES = {
    Comparator.GT: (Extreme.MAX_HIGH, True),
    Comparator.GE: (Extreme.MAX_HIGH, False),
    Comparator.SA: (Extreme.MAX_LOW, True),
    Comparator.LT: (Extreme.MIN_LOW, True),
    Comparator.LE: (Extreme.MIN_LOW, False),
    Comparator.EB: (Extreme.MIN_HIGH, True),
}


def draft_predicates(
    filter_: Filter, parameter: SearchParameter, context: SearchContext
) -> tuple[PredicateDraft, ...]:
    """Empty if the filter can only be evaluated. Raises BadFilter or BadValue."""
    reason = unsupported(filter_, parameter)
    if reason is not None:
        raise BadFilter(reason)
    modifier = modifier_of(filter_.modifier) if filter_.modifier is not None else None
    if modifier is Modifier.MISSING:
        return ()
    texts = split(filter_.value, ",")
    if not all(text.strip() for text in texts):
        raise BadValue("the value is empty")
    if parameter.type is ParameterType.COMPOSITE:
        return _composite(texts, parameter)
    if parameter.type in ORDERED:
        draft = _threshold(parameter.type, texts[0], filter_.comparator) if len(texts) == 1 else None
        return () if draft is None else (draft,)
    kind = _kind(parameter.type, modifier)
    if kind is None:
        return ()
    targets = reference_targets(parameter)
    if modifier is Modifier.TYPE and filter_.modifier is not None:
        targets = (filter_.modifier,) if filter_.modifier[0].isupper() else ()
    keys = frozenset(_key(kind, text, targets, context.base_urls) for text in texts)
    return (PredicateDraft(kind, -1, kind is not PredicateKind.TYPED_IDENTIFIER, keys),)


def _kind(parameter_type: ParameterType, modifier: Modifier | None) -> PredicateKind | None:
    match parameter_type, modifier:
        case ParameterType.REFERENCE, None | Modifier.TYPE:
            return PredicateKind.REFERENCE
        case ParameterType.REFERENCE, Modifier.IDENTIFIER:
            return PredicateKind.IDENTIFIER
        case ParameterType.TOKEN, None:
            return PredicateKind.TOKEN
        case ParameterType.TOKEN, Modifier.OF_TYPE:
            return PredicateKind.TYPED_IDENTIFIER
        case ParameterType.URI, None:
            return PredicateKind.URI
        case ParameterType.STRING, Modifier.EXACT:
            return PredicateKind.EXACT_STRING
    return None


def _key(kind: PredicateKind, text: str, targets: tuple[str, ...], base_urls: frozenset[str]) -> LookupKey:
    if kind is PredicateKind.REFERENCE:
        return parse_reference(text, targets, base_urls)
    if kind is PredicateKind.TYPED_IDENTIFIER:
        return unescape(split(text, "|")[-1])
    if kind in {PredicateKind.URI, PredicateKind.EXACT_STRING}:
        value = unescape(text)
        if kind is PredicateKind.URI:
            check_blanks(text, value)
        return value
    system, code = parse_token(text)
    if system is None:
        return code or ""
    return (system,) if code is None else (system, code)


def _composite(texts: list[str], parameter: SearchParameter) -> tuple[PredicateDraft, ...]:
    """Never exact: the components must match within the same element, which the drafts don't express."""
    alternatives = [split(text, "$") for text in texts]
    if any(len(parts) != len(parameter.components) for parts in alternatives):
        raise BadValue(f"takes {len(parameter.components)} parts joined by $")
    drafts: list[PredicateDraft] = []
    for index, component in enumerate(parameter.components):
        if component.type is ParameterType.TOKEN:
            keys = frozenset(
                _key(PredicateKind.TOKEN, parts[index], (), frozenset()) for parts in alternatives
            )
            drafts.append(PredicateDraft(PredicateKind.TOKEN, index, is_exact=False, keys=keys))
        elif component.type in ORDERED and len(texts) == 1:
            draft = _threshold(component.type, alternatives[0][index], None)
            if draft is not None:
                drafts.append(draft._replace(component=index, is_exact=False))
    return tuple(drafts)


def _threshold(
    parameter_type: ParameterType, text: str, explicit: Comparator | None
) -> PredicateDraft | None:
    comparator, value = split_prefix(text)
    if explicit is not None:
        if value != text:
            raise BadValue("it has two comparators: one of the filter and one before the value")
        comparator = explicit
    kind = _ORDERED_KINDS[parameter_type]
    if kind is PredicateKind.DATE:
        return _date_threshold(comparator, value)
    unit = NO_UNIT
    if kind is PredicateKind.QUANTITY:
        number, *unit_parts = parse_quantity(value)
        unit = (unit_parts[0], unit_parts[1])
    else:
        number = parse_number(value)
    if comparator not in _NUMBER_EXTREMES:
        return None
    extreme, is_strict = _NUMBER_EXTREMES[comparator]
    return PredicateDraft(
        kind, -1, is_exact=True, threshold=Threshold(extreme, number.exact, is_strict, unit)
    )


def _date_threshold(comparator: Comparator, text: str) -> PredicateDraft | None:
    """`ge` and `le` also pass for a span that begins, or ends, within the searched span.

    They are looked up by the near end of the searched span, and then evaluated.
    """
    searched = date_interval(text)
    threshold = {
        Comparator.GT: Threshold(Extreme.MAX_HIGH, searched.high, is_strict=True),
        Comparator.GE: Threshold(Extreme.MAX_HIGH, searched.low, is_strict=False),
        Comparator.SA: Threshold(Extreme.MAX_LOW, searched.high, is_strict=False),
        Comparator.LT: Threshold(Extreme.MIN_LOW, searched.low, is_strict=True),
        Comparator.LE: Threshold(Extreme.MIN_LOW, searched.high, is_strict=False),
        Comparator.EB: Threshold(Extreme.MIN_HIGH, searched.low, is_strict=False),
    }.get(comparator)
    if threshold is None:
        return None
    is_exact = comparator not in {Comparator.GE, Comparator.LE}
    return PredicateDraft(PredicateKind.DATE, -1, is_exact, threshold=threshold)
