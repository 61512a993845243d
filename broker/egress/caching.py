"""For how long a response may be kept, by its headers (RFC 9111). Pure."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_DIRECTIVE = re.compile(r'([a-z-]+)(?:=(?:"([^"]*)"|([^\s,"]*)))?')
_FORBIDDING = frozenset({"no-store", "no-cache"})


def lifetime_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from now; None where the headers (names in lower case) do not say it. What is contradictory or
    cannot be read means 0.
    """
    control = headers.get("cache-control")
    if control is not None:
        directives = [(name, quoted or plain) for name, quoted, plain in _DIRECTIVE.findall(control.lower())]
        if any(name in _FORBIDDING for name, _ in directives):
            return 0.0
        ages = [_seconds(value) for name, value in directives if name in {"max-age", "s-maxage"}]
        if ages:
            return max(0.0, min(ages) - _seconds(headers.get("age", "0"), unreadable=min(ages)))
    if "expires" in headers:
        return _until(headers["expires"], headers.get("date", ""))
    return None


def _seconds(text: str, unreadable: float = 0.0) -> float:
    return float(text) if re.fullmatch(r"[0-9]{1,10}", text.strip()) else unreadable


def _until(expires: str, date: str) -> float:
    try:
        return max(0.0, (parsedate_to_datetime(expires) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):  # TypeError: only one of them has a time zone
        return 0.0
