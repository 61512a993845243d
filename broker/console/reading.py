"""Reads numbers that people type into forms."""

from collections.abc import Mapping

from broker.errors import Issue, Malformed
from broker.model.whole_number import whole_number


def event_number(values: Mapping[str, str], name: str) -> int | None:
    """The event number in a field, None without one. Raises `Malformed`."""
    text = values.get(name, "").strip()
    if not text:
        return None
    number = whole_number(text)
    if number is None or number < 1:
        raise Malformed(Issue("value", f"{text[:40]!r} is no event number. Type a number from 1 on.", name))
    return number
