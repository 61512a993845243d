"""The syntax of search values: alternatives, escapes, prefixes, and text normalized for comparison (R-143,
R-400, R-404).

`dates`, `quantities`, `tokens`, `references` and `strings` parse the parts and compare them. Parsing raises
BadValue; it happens when a filter is compiled.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from broker.errors import BrokerError
from broker.model.search import Comparator

MAX_VALUE_CHARS = 8192
_COMPARATORS = {comparator.value: comparator for comparator in Comparator}

ElementTest = Callable[[Any, dict[str, Any]], bool]
"""Whether an element matches one search value. The second argument is the resource that the element is part
of.
"""


class BadValue(BrokerError):  # noqa: N818 named for what is the case
    """The search value is not valid for the type of its parameter."""


class BadFilter(BrokerError):  # noqa: N818 named for what is the case
    """The broker can't evaluate the filter exactly, or the parameter does not allow it."""


def split(text: str, separator: str) -> list[str]:
    r"""Splits at each separator that is not escaped.

    Escapes stay in the parts, for the next level (R-143).
    """
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
    r"""Replaces the escapes `\,` `\|` `\$` `\\`. Any other backslash stays."""
    return re.sub(r"\\([,|$\\])", r"\1", text)


def escape(text: str) -> str:
    r"""The inverse of `unescape`: any text as one search value."""
    return re.sub(r"([,|$\\])", r"\\\1", text)


def check_blanks(text: str, *parts: str) -> None:
    """Raises BadValue if a part has a blank at its start or end."""
    if any(part != part.strip() for part in parts):
        raise BadValue(f"{text[:80]!r} has a blank before or after a value; remove it")


def split_prefix(text: str) -> tuple[Comparator, str]:
    """The comparator prefix (`eq` if there is none) and the rest. Only for values of ordered types."""
    comparator = _COMPARATORS.get(text[:2])
    return (Comparator.EQ, text) if comparator is None else (comparator, text[2:])


def fold(text: str) -> str:
    """The text without case and accents (R-404)."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char)).casefold()
