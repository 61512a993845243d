"""What of a filter can be looked up instead of evaluated: the keys a focus must say, or the bound one of its numbers must pass.

A draft that is exact says the same as the compiled filter, and is refused for the same values. One that isn't lets through
every focus that the filter lets through, and some more: the filter is then evaluated as well.
"""

from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

from broker.matching.dates import date_interval
from broker.matching.quantities import wanted_number, wanted_quantity
from broker.matching.references import reference_targets, wanted_reference
from broker.matching.support import ORDERED, modifier_of, unsupported
from broker.matching.tokens import wanted_token
from broker.matching.values import BadFilter, BadValue, split, split_prefix, unescape
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

Key = str | tuple[str, ...]
"""Of a token `(system, code)`, `(system,)` or `code`; else the text itself, a reference in its normal form."""

Bound = Decimal | int
Unit = tuple[str | None, str | None]
"""System and code that a quantity is wanted in; None where the filter leaves it open."""
NO_UNIT: Unit = (None, None)


class Kind(IntEnum):
    """How the values of a parameter become keys; the higher the number, the more foci share a key."""

    REFERENCE = 1
    IDENTIFIER = 2
    TYPED_IDENTIFIER = 3
    URI = 4
    EXACT_STRING = 5
    TOKEN = 20
    NUMBER = 100
    QUANTITY = 101
    DATE = 102

    @property
    def is_ordered(self) -> bool:
        return self >= Kind.NUMBER


class Axis(IntEnum):
    """The extreme of all elements' spans that decides: whether any element passes."""

    MAX_HIGH = 0
    MAX_LOW = 1
    MIN_LOW = 2
    MIN_HIGH = 3

    @property
    def is_max(self) -> bool:
        return self <= Axis.MAX_LOW


class Range(NamedTuple):
    """The extreme must lie beyond the bound, or on it."""

    axis: Axis
    bound: Bound
    is_strict: bool
    unit: Unit = NO_UNIT


class Draft(NamedTuple):
    """One thing to look up. `part` is the index of a composite's component, -1 for all else."""

    kind: Kind
    part: int
    is_exact: bool
    keys: frozenset[Key] = frozenset()
    range: Range | None = None


_ORDERED_KINDS = {
    ParameterType.NUMBER: Kind.NUMBER,
    ParameterType.QUANTITY: Kind.QUANTITY,
    ParameterType.DATE: Kind.DATE,
}
_NUMBER_AXES = {
    Comparator.GT: (Axis.MAX_HIGH, True),
    Comparator.GE: (Axis.MAX_HIGH, False),
    Comparator.SA: (Axis.MAX_LOW, True),
    Comparator.LT: (Axis.MIN_LOW, True),
    Comparator.LE: (Axis.MIN_LOW, False),
    Comparator.EB: (Axis.MIN_HIGH, True),
}


def drafts(wanted: Filter, parameter: SearchParameter, base_urls: frozenset[str]) -> tuple[Draft, ...]:
    """Empty where the filter can only be evaluated. Raises BadFilter or BadValue."""
    reason = unsupported(wanted, parameter)
    if reason is not None:
        raise BadFilter(reason)
    modifier = modifier_of(wanted.modifier) if wanted.modifier is not None else None
    if modifier is Modifier.MISSING:
        return ()
    texts = split(wanted.value, ",")
    if not all(text.strip() for text in texts):
        raise BadValue("an empty value")
    if parameter.type is ParameterType.COMPOSITE:
        return _composite(texts, parameter)
    if parameter.type in ORDERED:
        found = _range(parameter.type, texts[0], wanted.comparator) if len(texts) == 1 else None
        return () if found is None else (found,)
    kind = _kind(parameter.type, modifier)
    if kind is None:
        return ()
    targets = reference_targets(parameter)
    if modifier is Modifier.TYPE and wanted.modifier is not None:
        targets = (wanted.modifier,) if wanted.modifier[0].isupper() else ()
    keys = frozenset(_key(kind, text, targets, base_urls) for text in texts)
    return (Draft(kind, -1, kind is not Kind.TYPED_IDENTIFIER, keys),)


def _kind(type: ParameterType, modifier: Modifier | None) -> Kind | None:
    match type, modifier:
        case ParameterType.REFERENCE, None | Modifier.TYPE:
            return Kind.REFERENCE
        case ParameterType.REFERENCE, Modifier.IDENTIFIER:
            return Kind.IDENTIFIER
        case ParameterType.TOKEN, None:
            return Kind.TOKEN
        case ParameterType.TOKEN, Modifier.OF_TYPE:
            return Kind.TYPED_IDENTIFIER
        case ParameterType.URI, None:
            return Kind.URI
        case ParameterType.STRING, Modifier.EXACT:
            return Kind.EXACT_STRING
    return None


def _key(kind: Kind, text: str, targets: tuple[str, ...], base_urls: frozenset[str]) -> Key:
    if kind is Kind.REFERENCE:
        return wanted_reference(text, targets, base_urls)
    if kind is Kind.TYPED_IDENTIFIER:
        return unescape(split(text, "|")[-1])
    if kind in {Kind.URI, Kind.EXACT_STRING}:
        return unescape(text)
    system, code = wanted_token(text)
    if system is None:
        return code or ""
    return (system,) if code is None else (system, code)


def _composite(texts: list[str], parameter: SearchParameter) -> tuple[Draft, ...]:
    """Each component by itself says less than all of them within one element."""
    parts = [split(text, "$") for text in texts]
    if any(len(one) != len(parameter.components) for one in parts):
        raise BadValue(f"takes {len(parameter.components)} parts joined by $")
    found: list[Draft] = []
    for n, component in enumerate(parameter.components):
        if component.type is ParameterType.TOKEN:
            keys = frozenset(_key(Kind.TOKEN, one[n], (), frozenset()) for one in parts)
            found.append(Draft(Kind.TOKEN, n, is_exact=False, keys=keys))
        elif component.type in ORDERED and len(texts) == 1:
            ordered = _range(component.type, parts[0][n], None)
            if ordered is not None:
                found.append(ordered._replace(part=n, is_exact=False))
    return tuple(found)


def _range(type: ParameterType, text: str, asked: Comparator | None) -> Draft | None:
    comparator, rest = split_prefix(text)
    if asked is not None:
        if rest != text:
            raise BadValue("a comparator twice: as such and before the value")
        comparator = asked
    kind = _ORDERED_KINDS[type]
    if kind is Kind.DATE:
        return _date_range(comparator, rest)
    unit = NO_UNIT
    if kind is Kind.QUANTITY:
        number, *unit_parts = wanted_quantity(rest)
        unit = (unit_parts[0], unit_parts[1])
    else:
        number = wanted_number(rest)
    if comparator not in _NUMBER_AXES:
        return None
    axis, is_strict = _NUMBER_AXES[comparator]
    return Draft(kind, -1, is_exact=True, range=Range(axis, number.exact, is_strict, unit))


def _date_range(comparator: Comparator, text: str) -> Draft | None:
    """`ge` and `le` hold for a span that begins, or ends, within the wanted one too: looked up by its near end, then evaluated."""
    wanted = date_interval(text)
    found = {
        Comparator.GT: Range(Axis.MAX_HIGH, wanted.high, is_strict=True),
        Comparator.GE: Range(Axis.MAX_HIGH, wanted.low, is_strict=False),
        Comparator.SA: Range(Axis.MAX_LOW, wanted.high, is_strict=False),
        Comparator.LT: Range(Axis.MIN_LOW, wanted.low, is_strict=True),
        Comparator.LE: Range(Axis.MIN_LOW, wanted.high, is_strict=False),
        Comparator.EB: Range(Axis.MIN_HIGH, wanted.low, is_strict=False),
    }.get(comparator)
    if found is None:
        return None
    return Draft(Kind.DATE, -1, comparator not in {Comparator.GE, Comparator.LE}, range=found)
