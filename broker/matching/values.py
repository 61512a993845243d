"""Search values and the laws by which elements are compared with them (R-400..R-405).

Parsing raises BadValue and happens once, at registration; comparing works on the parsed values. Dates are half-open
intervals in microseconds since year 1, UTC; numbers are Decimal, so that 0.1 is 0.1.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from broker.errors import BrokerError
from broker.model.search import Comparator

UCUM = "http://unitsofmeasure.org"
MAX_VALUE_CHARS = 8192
_MAX_EXPONENT = 100
_FAR = 10**24
_MICROSECONDS_A_DAY = 86_400_000_000
_NUMBER = re.compile(r"[+-]?\d{1,60}(\.\d{1,60})?([eE][+-]?\d{1,3})?")
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)
_COMPARATORS = {one.value: one for one in Comparator}


class BadValue(BrokerError):  # noqa: N818 named for what is the case
    """A search value that its parameter's type can't have."""


# --- text of a search value


def split(text: str, separator: str) -> list[str]:
    r"""Splits where the separator isn't escaped; escapes stay for the next level to see (R-143)."""
    if len(text) > MAX_VALUE_CHARS:
        raise BadValue(f"longer than {MAX_VALUE_CHARS} characters")
    parts, part, escaped = [], "", False
    for char in text:
        if char == separator and not escaped:
            parts.append(part)
            part = ""
            continue
        part += char
        escaped = char == "\\" and not escaped
    return [*parts, part]


def unescape(text: str) -> str:
    r"""Turns `\,` `\|` `\$` `\\` into what they stand for; another backslash is itself."""
    return re.sub(r"\\([,|$\\])", r"\1", text)


def split_prefix(text: str) -> tuple[Comparator, str]:
    """A leading `ge` and the like; without one, `eq`. Only for ordered types."""
    comparator = _COMPARATORS.get(text[:2])
    return (Comparator.EQ, text) if comparator is None else (comparator, text[2:])


def fold(text: str) -> str:
    """Case and accents taken away (R-404)."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char)).casefold()


# --- dates


class Interval(NamedTuple):
    """From `low` up to, not including, `high`."""

    low: int
    high: int


def date_interval(text: str) -> Interval:
    """The span a date stands for by its precision; without an offset it is UTC (R-401)."""
    found = _DATE.fullmatch(
        text.strip().replace(" ", "+")
    )  # a `+` of an offset that a URL decoder took for a blank
    if found is None:
        raise BadValue(f"{text[:40]!r} is no date")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal()
        if day is None:
            past = (int(year), int(month) + 1) if month else (int(year) + 1, 1)
            past = past if past[1] <= 12 else (past[0] + 1, 1)
            end = date(*past, 1).toordinal() if past[0] <= 9999 else date.max.toordinal() + 1
            return Interval(start * _MICROSECONDS_A_DAY, end * _MICROSECONDS_A_DAY)
    except ValueError:
        raise BadValue(f"{text[:40]!r} is no date") from None
    low = start * _MICROSECONDS_A_DAY
    if hour is None:
        return Interval(low, low + _MICROSECONDS_A_DAY)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        raise BadValue(f"{text[:40]!r} is no time")
    low += ((int(hour) * 60 + int(minute)) * 60 + int(second or 0)) * 1_000_000
    width = 60_000_000 if second is None else 1_000_000
    if fraction:
        width = 10 ** max(0, 6 - len(fraction))
        low += int(fraction[:6].ljust(6, "0"))
    if zone and zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60_000_000
        low += offset if zone[0] == "-" else -offset
    return Interval(low, low + width)


def date_span(element: Any) -> Interval | None:
    """The span of a date, dateTime, instant, Period or Timing element; open ends reach far.

    None for an element that names no time (a Timing of frequencies only); BadValue for what is no date.
    """
    if isinstance(element, str):
        return date_interval(element)
    if not isinstance(element, dict):
        raise BadValue("no date")
    if "start" in element or "end" in element:
        low = date_interval(element["start"]).low if "start" in element else -_FAR
        high = date_interval(element["end"]).high if "end" in element else _FAR
        return Interval(low, high)
    spans = [date_interval(one) for one in element.get("event", ()) if one is not None]
    bounds = date_span(element.get("repeat", {}).get("boundsPeriod", {})) if "repeat" in element else None
    spans += [bounds] if bounds else []
    return Interval(min(one.low for one in spans), max(one.high for one in spans)) if spans else None


def microseconds(moment: datetime) -> int:
    """A moment on the scale of `Interval`."""
    since = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return _MICROSECONDS_A_DAY + since // timedelta(microseconds=1)


def compare_dates(
    comparator: Comparator, element: Interval, wanted: Interval, now: int | None = None
) -> bool:
    """R-400, R-401. `now` widens `ap` by a tenth of the gap to it; without it the gap counts as none."""
    is_inside = wanted.low <= element.low and element.high <= wanted.high
    match comparator:
        case Comparator.EQ:
            return is_inside
        case Comparator.NE:
            return not is_inside
        case Comparator.GT:
            return element.high > wanted.high
        case Comparator.LT:
            return element.low < wanted.low
        case Comparator.GE:
            return is_inside or element.high > wanted.high
        case Comparator.LE:
            return is_inside or element.low < wanted.low
        case Comparator.SA:
            return element.low >= wanted.high
        case Comparator.EB:
            return element.high <= wanted.low
    gap = 0 if now is None else abs(now - wanted.low) // 10
    return element.low < wanted.high + gap and element.high > wanted.low - gap


# --- numbers


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


# --- quantities


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
    if not isinstance(element, dict):
        raise BadValue("no quantity")
    if "low" in element or "high" in element:
        ends = [_span(element[end], wanted) if end in element else None for end in ("low", "high")]
        if all(end is None for end in ends):
            return False
        low = ends[0].low if ends[0] else -_INFINITY
        high = ends[1].high if ends[1] else _INFINITY
        if any(end in element and found is None for end, found in zip(("low", "high"), ends, strict=True)):
            return False
        return compare_numbers(comparator, Span(low, high), wanted.number)
    span = _span(element, wanted)
    return span is not None and compare_numbers(comparator, span, wanted.number)


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


@lru_cache(maxsize=4096)
def conversion(given: str, wanted: str) -> Callable[[Decimal], Decimal] | None:
    """How to turn a number in one UCUM unit into another, offsets (Cel, [degF]) included; None where it can't be done."""
    if len(given) > 80 or len(wanted) > 80:
        return None
    registry = _registry()
    try:
        source, target = registry.from_ucum(given).units, registry.from_ucum(wanted).units
        offset = Decimal(str(float(registry.Quantity(0.0, source).to(target).magnitude)))
        factor = Decimal(str(float(registry.Quantity(1.0, source).to(target).magnitude))) - offset
    except Exception:  # noqa: BLE001 a unit comes from data, and the parser and Pint raise many kinds of error for a bad one
        return None

    def convert(value: Decimal) -> Decimal:
        scaled = value * factor
        if not scaled and not offset:
            return scaled
        # floats brought about 15 digits: the last of them are noise that would spoil comparisons at a boundary
        digits = max(part.adjusted() for part in (scaled, offset) if part) - 10
        try:
            return (scaled + offset).quantize(Decimal(1).scaleb(digits), context=_WIDE)
        except InvalidOperation:
            raise BadValue("a quantity out of range") from None

    return convert


@lru_cache(maxsize=1)
def _registry() -> Any:
    """Costs most of a second to build, so only the first conversion does."""
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 a slow import that most processes never need

    return PintUcumRegistry()


# --- tokens, references


class WantedToken(NamedTuple):
    """R-403: `system` None is any system, "" is none; `code` None is any code of the system."""

    system: str | None
    code: str | None


def wanted_token(text: str) -> WantedToken:
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) > 2 or not any(parts):
        raise BadValue("a token is written code, system|code, |code or system|")
    if len(parts) == 1:
        return WantedToken(None, parts[0])
    return WantedToken(parts[0], parts[1] or None)


def normal_reference(text: str, base_urls: frozenset[str]) -> str:
    """`Patient/123` for this server's resources however they are written, without version; others as they are (R-405)."""
    text = text.split("/_history/", 1)[0]
    for base in base_urls:
        if text.startswith(base.rstrip("/") + "/"):
            return text[len(base.rstrip("/")) + 1 :]
    return text


def wanted_reference(text: str, targets: tuple[str, ...], base_urls: frozenset[str]) -> str:
    """Raises BadValue for a bare id where several types could be meant, and for a type that the parameter never points at."""
    reference = normal_reference(unescape(text).strip(), base_urls)
    if not reference or reference.startswith("#"):
        raise BadValue("a reference is written Type/id, id or an absolute URL")
    if ":" in reference:
        return reference
    type_name, slash, rest = reference.partition("/")
    if not slash:
        if len(targets) != 1:
            raise BadValue(f"{reference!r} doesn't say which type it is: write Type/{reference}")
        return f"{targets[0]}/{reference}"
    if not rest or "/" in rest:
        raise BadValue(f"{reference!r} is no reference")
    if targets and type_name not in targets:
        raise BadValue(f"it never refers to {type_name}, only to {', '.join(targets)}")
    return reference
