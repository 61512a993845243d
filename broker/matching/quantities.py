"""Numbers and quantities, and their comparison (R-400..R-402). Numbers are Decimal, so 0.1 is exactly 0.1."""

import re
from decimal import Context, Decimal
from typing import Any, NamedTuple

from broker.matching.units import UCUM, conversion
from broker.matching.values import BadValue, check_blanks, split, unescape
from broker.model.search import Comparator

_MAX_EXPONENT = 100
_NUMBER = re.compile(r"[+-]?\d{1,60}(\.\d{1,60})?([eE][+-]?\d{1,3})?")


class Span(NamedTuple):
    """The numbers that an element can stand for, both ends included.

    An exact number is a span of one point.
    """

    low: Decimal
    high: Decimal


class SearchNumber(NamedTuple):
    """The number of a search value. Its written precision covers `low` up to, not including, `high`."""

    exact: Decimal
    low: Decimal
    high: Decimal


_INFINITY = Decimal("Infinity")
_WIDE = Context(prec=80)


def parse_number(text: str) -> SearchNumber:
    """`100` covers 99.5 up to 100.5; `100.00` covers 99.995 up to 100.005. Raises BadValue."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise BadValue(f"{text[:40]!r} is not a number")
    exact = Decimal(text)
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        raise BadValue(f"{text[:40]!r} is out of range")
    half = Decimal(5).scaleb(exponent - 1)
    return SearchNumber(exact, _WIDE.subtract(exact, half), _WIDE.add(exact, half))


def decimal_of(value: Any) -> Decimal:
    """The exact value of a JSON number. Raises BadValue for anything else."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValue("the element is not a number")
    return Decimal(str(value))


def compare_numbers(comparator: Comparator, element: Span, searched: SearchNumber) -> bool:
    """R-400, R-401: `eq` and `ne` compare by the written precision, the others by the exact value, `ap`
    within a tenth.
    """
    exact = searched.exact
    match comparator:
        case Comparator.EQ:
            return searched.low <= element.low and element.high < searched.high
        case Comparator.NE:
            return not (searched.low <= element.low and element.high < searched.high)
        case Comparator.GT:
            return element.high > exact
        case Comparator.LT:
            return element.low < exact
        case Comparator.GE:
            return element.high >= exact
        case Comparator.LE:
            return element.low <= exact
        case Comparator.SA:
            return element.low > exact
        case Comparator.EB:
            return element.high < exact
    tenth = abs(exact) / 10
    return element.low <= exact + tenth and element.high >= exact - tenth


class SearchQuantity(NamedTuple):
    """The quantity of a search value. `system` and `code` are None if the value leaves them open."""

    number: SearchNumber
    system: str | None
    code: str | None


def parse_quantity(text: str) -> SearchQuantity:
    """Parses `number`, `number||code` or `number|system|code` (R-402). Raises BadValue."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) not in {1, 3}:
        raise BadValue("a quantity is written number, number||code or number|system|code")
    system, code = parts[1:] if len(parts) == 3 else ("", "")
    check_blanks(text, system, code)
    return SearchQuantity(parse_number(parts[0]), system or None, code or None)


def compare_quantity(comparator: Comparator, element: Any, searched: SearchQuantity) -> bool:
    """Compares a Quantity, Money or Range in the searched unit; False if it can't be converted (R-402).

    SampledData never passes.
    """
    span = quantity_span(element, searched)
    return span is not None and compare_numbers(comparator, span, searched.number)


def quantity_span(element: Any, searched: SearchQuantity) -> Span | None:
    """The span of a Quantity, Money or Range in the searched unit.

    None if the element has no number or can't be converted to that unit.
    """
    if not isinstance(element, dict):
        raise BadValue("the element is not a quantity")
    if "low" in element or "high" in element:
        low = _span(element["low"], searched) if "low" in element else Span(-_INFINITY, -_INFINITY)
        high = _span(element["high"], searched) if "high" in element else Span(_INFINITY, _INFINITY)
        return None if low is None or high is None else Span(low.low, high.high)
    return _span(element, searched)


def _span(element: dict[str, Any], searched: SearchQuantity) -> Span | None:
    """The span of one Quantity or Money in the searched unit."""
    if "value" not in element:
        return None
    value = _in_unit(decimal_of(element["value"]), element, searched)
    if value is None:
        return None
    match element.get("comparator"):  # the measured value lies beyond the range of the device
        case "<":
            return Span(-_INFINITY, value.next_minus())
        case "<=":
            return Span(-_INFINITY, value)
        case ">":
            return Span(value.next_plus(), _INFINITY)
        case ">=":
            return Span(value, _INFINITY)
    return Span(value, value)


def _in_unit(value: Decimal, element: dict[str, Any], searched: SearchQuantity) -> Decimal | None:
    """The value converted to the searched unit; None if it can't be converted."""
    system, code = element.get("system"), element.get("code")
    if "currency" in element:
        system, code = "urn:iso:std:iso:4217", element["currency"]
    if searched.system is not None and system != searched.system:
        return None
    if searched.code is None or searched.code == code:
        return value
    if searched.system is None and searched.code == element.get("unit"):
        return value
    if system != UCUM or not isinstance(code, str):
        return None
    convert = conversion(code, searched.code)
    return None if convert is None else convert(value)
