"""Comparison of one requested value with one value of a candidate, for each search parameter type. Pure
(R-403, R-404).
"""

import re
import unicodedata

from broker.matching.dates import Interval, compare_dates, date_interval, date_span
from broker.matching.values import BadValue
from broker.model.search import Comparator, ParameterType

_VALUE = re.compile(r"((?:[^\\,]|\\.)*)(?:,|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\,|$])")
_MEDIA_TYPE = re.compile(r"^(\w+/\w+) (\w+)$")
_OFFSET = 10**24
"""Makes the moments of open periods positive, so that their digits have their order."""
_BAR = re.compile(r"(?<!\\)\|")


def split_values(text: str) -> list[str]:
    """The values between commas; an escaped comma belongs to its value. Escapes stay, since a token is split
    at its bar.
    """
    values = [match[1] for match in _VALUE.finditer(text)]
    # the last match is the empty one at the end of the text
    return values[:-1] if len(values) > 1 and not text.endswith(",") else values


def check_date(text: str) -> bool:
    """Whether the text is a date of any precision, with or without a prefix."""
    try:
        _split_prefix(text)
    except (BadValue, ValueError):
        return False
    return True


def matches_value(parameter_type: ParameterType, modifier: str, wanted: str, value: str) -> bool:
    """Whether a candidate's value meets the requested one, which passed `check_date` where it is a date."""
    match parameter_type:
        case ParameterType.TOKEN:
            return _matches_token(wanted, value)
        case ParameterType.DATE:
            return _matches_date(unescaped(wanted), value)
        case ParameterType.STRING:
            return _matches_string(modifier, unescaped(wanted), value)
        case ParameterType.REFERENCE:
            target = f"{modifier}/{unescaped(wanted)}" if modifier else unescaped(wanted)
            return value == target or value.endswith("/" + target)
        case _:
            return _matches_uri(modifier, unescaped(wanted), value)


def sort_text(parameter_type: ParameterType, value: str, *, is_end: bool) -> str | None:
    """A text whose order is that of the value; None for a date that is not one.

    Strings are compared without case and accents, tokens by their code, dates by their first moment, or with
    `is_end` by their last.
    """
    match parameter_type:
        case ParameterType.STRING:
            return _folded(value)
        case ParameterType.TOKEN:
            system, _, code = value.rpartition("|")
            return f"{code}|{system}"
        case ParameterType.DATE:
            try:
                span = _span(value)
            except BadValue:
                return None
            return None if span is None else f"{(span.high if is_end else span.low) + _OFFSET:026d}"
        case _:
            return value


def unescaped(text: str) -> str:
    """A value as it is compared."""
    return _ESCAPE.sub(r"\1", text)


def _folded(text: str) -> str:
    """The text without case and accents (R-404)."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letters).casefold()


def _matches_token(wanted: str, value: str) -> bool:
    """R-403; a value without a bar is a code whose system is implied."""
    system, bar, code = value.rpartition("|")
    parts = [unescaped(part) for part in _BAR.split(wanted)]
    # an unescaped `+` of a query string, as in application/fhir+json, arrives as a blank
    is_code = code in {parts[-1], _MEDIA_TYPE.sub(r"\1+\2", parts[-1])}
    if len(parts) == 1:
        return is_code
    return (not bar or system == "|".join(parts[:-1])) and (not parts[-1] or is_code)


def _split_prefix(text: str) -> tuple[Comparator, str]:
    prefix, date = (text[:2], text[2:]) if text[:1].isalpha() else (Comparator.EQ, text)
    date_interval(date)
    return Comparator(prefix), date


def _matches_date(wanted: str, value: str) -> bool:
    comparator, date = _split_prefix(wanted)
    span = _span(value)
    return span is not None and compare_dates(comparator, span, date_interval(date))


def _span(value: str) -> Interval | None:
    """The interval of a candidate's date, or of its period `start/end`."""
    start, slash, end = value.partition("/")
    period = {name: side for name, side in (("start", start), ("end", end)) if side}
    return date_span(period if slash else value)


def _matches_uri(modifier: str, wanted: str, value: str) -> bool:
    match modifier:
        case "below":
            return value == wanted or value.startswith(wanted.rstrip("/") + "/")
        case "above":
            return value == wanted or wanted.startswith(value.rstrip("/") + "/")
        case _:
            return value == wanted


def _matches_string(modifier: str, wanted: str, value: str) -> bool:
    match modifier:
        case "exact":
            return value == wanted
        case "contains":
            return _folded(wanted) in _folded(value)
        case _:
            return _folded(value).startswith(_folded(wanted))
