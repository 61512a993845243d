"""The text of search values: how alternatives are split, escapes undone, prefixes and case taken off (R-143, R-400, R-404).

Parsing raises BadValue and happens once, at registration. What the parts mean is told by `dates`, `quantities`, `tokens`,
`references` and `strings`.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from broker.errors import BrokerError
from broker.model.search import Comparator

MAX_VALUE_CHARS = 8192
_COMPARATORS = {one.value: one for one in Comparator}

ElementTest = Callable[[Any, dict[str, Any]], bool]
"""Whether an element, of the resource given second, matches one search value."""


class BadValue(BrokerError):  # noqa: N818 named for what is the case
    """A search value that its parameter's type can't have."""


class BadFilter(BrokerError):  # noqa: N818 named for what is the case
    """A filter that can't be evaluated exactly here, or that its parameter can't have."""


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


def escape(text: str) -> str:
    r"""The opposite of `unescape`: a text as one search value, whatever it holds."""
    return re.sub(r"([,|$\\])", r"\\\1", text)


def split_prefix(text: str) -> tuple[Comparator, str]:
    """A leading `ge` and the like; without one, `eq`. Only for ordered types."""
    comparator = _COMPARATORS.get(text[:2])
    return (Comparator.EQ, text) if comparator is None else (comparator, text[2:])


def fold(text: str) -> str:
    """Case and accents taken away (R-404)."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char)).casefold()
