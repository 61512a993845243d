"""Reads whole numbers that clients wrote. Every number from a header, a query or a message passes here."""

import re

_WHOLE = re.compile(r"[0-9]{1,18}")
"""What a 64-bit integer always holds. `str.isdigit` also accepts digits that `int` refuses, such as `²`."""


def whole_number(text: str) -> int | None:
    """The number if `text` is one of 1 to 18 decimal digits, else None."""
    return int(text) if _WHOLE.fullmatch(text) else None
