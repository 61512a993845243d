"""What the Prefer header of a request asks for (RFC 7240).

What the broker does not know in the header is ignored, as the RFC says.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_SEPARATOR = re.compile(r"[,;]")
_RETURNS = {value.lower(): value for value in ("minimal", "representation", "OperationOutcome")}
_HANDLINGS = {"lenient": "lenient", "strict": "strict"}


class Preferences(NamedTuple):
    """`returns` is minimal, representation or OperationOutcome, `handling` lenient or strict; each '' where
    the client states none.
    """

    returns: str = ""
    handling: str = ""


@lru_cache(maxsize=256)
def parse_preferences(header: str) -> Preferences:
    """The preferences of a header; of a repeated one the first counts (RFC 7240, 2)."""
    values: dict[str, str] = {}
    for part in _SEPARATOR.split(header):
        name, _, value = part.partition("=")
        values.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return Preferences(
        _RETURNS.get(values.get("return", ""), ""), _HANDLINGS.get(values.get("handling", ""), "")
    )
