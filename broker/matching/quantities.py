"""Numbers and quantities, and how they compare (R-400..R-402). Numbers are Decimal, so that 0.1 is 0.1."""

import re
from decimal import Context, Decimal
from typing import Any, NamedTuple

from broker.matching.units import UCUM, conversion
from broker.matching.values import BadValue, split, unescape
from broker.model.search import Comparator

_MAX_EXPONENT = 100
_NUMBER = re.compile(r"[+-]?\d{1,60}(\.\d{1,60})?([eE][+-]?\d{1,3})?")


class Span(NamedTuple):
    """What an element's number can be: both ends included; one point for an exact number."""

    low: Decimal
    high: Decimal


class WantedNumber(NamedTuple):
    """A number to compare with: `low` up to, not including, `high` is what its written precision leaves open."""

    exact: Decimal
    low: Decimal
    high: Decimal


_INFINITY = Decimal("Infinity")
_WIDE = Context(prec=80)


def wanted_number(text: str) -> WantedNumber:
    """`100` stands for 99.5 up to 100.5, `100.00` for 99.995 up to 100.005."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise BadValue(f"{text[:40]!r} is no number")
    exact = Decimal(text)
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        raise BadValue(f"{text[:40]!r} is out of range")
    half = Decimal(5).scaleb(exponent - 1)
    return WantedNumber(exact, _WIDE.subtract(exact, half), _WIDE.add(exact, half))


def decimal_of(value: Any) -> Decimal:
    """A JSON number; raises BadValue for anything else."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValue("no number")
    return Decimal(str(value))


def compare_numbers(comparator: Comparator, element: Span, wanted: WantedNumber) -> bool:
    """R-400, R-401: `eq` and `ne` by the precision of what is wanted, the others by its exact value; `ap` within a tenth."""
    exact = wanted.exact
    match comparator:
        case Comparator.EQ:
            return wanted.low <= element.low and element.high < wanted.high
        case Comparator.NE:
            return not (wanted.low <= element.low and element.high < wanted.high)
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


class WantedQuantity(NamedTuple):
    """`system` and `code` are None where the search value leaves them open."""

    number: WantedNumber
    system: str | None
    code: str | None


def wanted_quantity(text: str) -> WantedQuantity:
    """`number`, `number||code` or `number|system|code` (R-402)."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) not in {1, 3}:
        raise BadValue("a quantity is written number, number||code or number|system|code")
    system, code = parts[1:] if len(parts) == 3 else ("", "")
    return WantedQuantity(wanted_number(parts[0]), system or None, code or None)


def compare_quantity(comparator: Comparator, element: Any, wanted: WantedQuantity) -> bool:
    """An element Quantity, Money or Range; in another unit after conversion, else not at all (R-402). SampledData never."""
    span = quantity_span(element, wanted)
    return span is not None and compare_numbers(comparator, span, wanted.number)


def quantity_span(element: Any, wanted: WantedQuantity) -> Span | None:
    """What a Quantity, Money or Range can be in the unit that is wanted; None where the units don't meet or no number is given."""
    if not isinstance(element, dict):
        raise BadValue("no quantity")
    if "low" in element or "high" in element:
        ends = [_span(element[end], wanted) if end in element else None for end in ("low", "high")]
        if any(end in element and found is None for end, found in zip(("low", "high"), ends, strict=True)):
            return None
        return Span(ends[0].low if ends[0] else -_INFINITY, ends[1].high if ends[1] else _INFINITY)
    return _span(element, wanted)


def _span(element: dict[str, Any], wanted: WantedQuantity) -> Span | None:
    """The element's number in the unit that is wanted; None where it has none or the units don't meet."""
    if "value" not in element:
        return None
    value = _in_unit(decimal_of(element["value"]), element, wanted)
    if value is None:
        return None
    match element.get("comparator"):  # the measured value lies beyond what could be told
        case "<":
            return Span(-_INFINITY, value.next_minus())
        case "<=":
            return Span(-_INFINITY, value)
        case ">":
            return Span(value.next_plus(), _INFINITY)
        case ">=":
            return Span(value, _INFINITY)
    return Span(value, value)


def _in_unit(value: Decimal, element: dict[str, Any], wanted: WantedQuantity) -> Decimal | None:
    system, code = element.get("system"), element.get("code")
    if "currency" in element:
        system, code = "urn:iso:std:iso:4217", element["currency"]
    if wanted.system is not None and system != wanted.system:
        return None
    if wanted.code is None or wanted.code == code:
        return value
    if wanted.system is None and wanted.code == element.get("unit"):
        return value
    if system != UCUM or not isinstance(code, str):
        return None
    convert = conversion(code, wanted.code)
    return None if convert is None else convert(value)
