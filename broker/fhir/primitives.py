"""The values of the primitive types, by the text of the specification (datatypes.html#primitive).

`find_problem` says what is wrong with one value. The values are those of a decoded resource, where `int` is a
number written without fraction and exponent, and `Decimal` any other. `structure.py` is the only caller.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal

from broker.fhir.element_tables import ELEMENT_ID
from broker.fhir.narrative import find_narrative_problem
from broker.model.release import Release

MAX_STRING_CHARS = 1_048_576
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_YEAR = r"(?:[0-9](?:[0-9](?:[0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)"
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[1-2][0-9]|3[0-1])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MAX_FRACTION_R5 = 9
_FRACTION = re.compile(r"\.([0-9]+)")
_32_BITS, _64_BITS = 2**31, 2**63

_RANGES: Mapping[str, tuple[int, int]] = {
    "integer": (-_32_BITS, _32_BITS - 1),
    "unsignedInt": (0, _32_BITS - 1),
    "positiveInt": (1, _32_BITS - 1),
}
_TEXTS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "code": (re.compile(r"\S+(?: \S+)*"), "a code: no blanks at its ends, single blanks inside"),
    "id": (re.compile(r"[A-Za-z0-9\-.]{1,64}"), "an id: 1 to 64 letters, digits, - and ."),
    ELEMENT_ID: (re.compile(r"\S+"), "an id: text without whitespace"),
    "uri": (re.compile(r"\S+"), "a URI: it has no whitespace"),
    "url": (re.compile(r"\S+"), "a URL: it has no whitespace"),
    "canonical": (re.compile(r"\S+"), "a canonical URL: it has no whitespace"),
    "oid": (re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"), "an OID such as urn:oid:1.2.3"),
    "uuid": (re.compile(f"urn:uuid:{_UUID}"), "a UUID such as urn:uuid:…, in lower case"),
    "date": (
        re.compile(f"{_YEAR}(?:-{_MONTH}(?:-{_DAY})?)?"),
        "a date: YYYY, YYYY-MM or YYYY-MM-DD",
    ),
    "dateTime": (
        re.compile(f"{_YEAR}(?:-{_MONTH}(?:-{_DAY}(?:T{_TIME}{_ZONE})?)?)?"),
        "a dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with its offset from UTC",
    ),
    "instant": (
        re.compile(f"{_YEAR}-{_MONTH}-{_DAY}T{_TIME}{_ZONE}"),
        "an instant: YYYY-MM-DDThh:mm:ss with its offset from UTC",
    ),
    "time": (re.compile(_TIME), "a time: hh:mm:ss"),
}
_WITH_DATE = frozenset({"date", "dateTime", "instant"})
_WITH_TIME = frozenset({"dateTime", "instant", "time"})
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def find_problem(primitive: str, value: object, release: Release) -> str | None:
    """What is wrong with the value of a primitive type, as it follows the element's name: "must be …".

    None for a valid value.
    """
    if primitive == "boolean":
        return None if isinstance(value, bool) else "must be true or false, without quotes"
    if primitive == "decimal":
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return None if is_number else "must be a number, without quotes"
    if primitive in _RANGES:
        return _whole_problem(value, *_RANGES[primitive])
    if primitive == "integer64":
        return _integer64_problem(value)
    if not isinstance(value, str):
        return "must be text in quotes"
    if not value:
        return "is empty: leave the element out"
    control = _CONTROL.search(value)
    if control is not None:
        return f"has the control character U+{ord(control[0]):04X}"
    check = _CHECKS.get(primitive)
    return check(value) if check is not None else _text_problem(primitive, value, release)


def _whole_problem(value: object, low: int, high: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"must be a whole number from {low} to {high}, written without quotes, fraction and exponent"


def _integer64_problem(value: object) -> str | None:
    """JSON has it as a string; HL7's own examples also print the number (R-221)."""
    if isinstance(value, str) and re.fullmatch(r"-?(?:0|[1-9][0-9]{0,18})", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -_64_BITS <= value < _64_BITS:
        return None
    return f'must be a whole number of 64 bits in quotes, such as "{_64_BITS - 1}"'


def _text_problem(primitive: str, value: str, release: Release) -> str | None:
    pattern, description = _TEXTS[primitive]
    if not pattern.fullmatch(value):
        return f"must be {description}"
    if primitive in _WITH_TIME and release is Release.R5:
        fraction = _FRACTION.search(value)
        if fraction is not None and len(fraction[1]) > _MAX_FRACTION_R5:
            return f"has more than {_MAX_FRACTION_R5} digits of a second"
    if primitive in _WITH_DATE and not _is_in_calendar(value):
        return "must be a day of the calendar"
    return None


def _is_in_calendar(value: str) -> bool:
    """Whether a date that matched the pattern of its type exists: its month has that day."""
    if len(value) < len("YYYY-MM-DD"):
        return True
    try:
        date(int(value[:4]), int(value[5:7]), int(value[8:10]))
    except ValueError:
        return False
    return True


def _string_problem(value: str) -> str | None:
    if len(value) > MAX_STRING_CHARS:
        return f"has more than {MAX_STRING_CHARS} characters"
    return None


def _base64_problem(value: str) -> str | None:
    """Readers ignore whitespace, so it may stand between the characters."""
    characters = "".join(value.split())
    if characters and len(characters) % 4 == 0 and _BASE64.fullmatch(characters):
        return None
    return "must be base64: groups of four letters, digits, + and /, padded by ="


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "string": _string_problem,
    "markdown": _string_problem,
    "base64Binary": _base64_problem,
    "xhtml": find_narrative_problem,
}
