"""Counts and lists in messages to people: `1 event`, `2 events`, the values of a list that matter. Pure."""

import re
from collections.abc import Collection

_ALTERNATIVE = re.compile(r"(?:[^\\,]|\\.)+", re.DOTALL)
_MAX_ALTERNATIVES = 3
_FIRST = 2


def count_of(count: int, noun: str, plural: str = "") -> str:
    """`1 event`, `2 events`; `plural` is for a noun that takes no s: `1 entry`, `2 entries`."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def are(count: int) -> str:
    """The verb after a count: `1 event is`, `2 events are`."""
    return "is" if count == 1 else "are"


def shorten_list(values: str, found: Collection[str] = ()) -> str:
    """A comma list of a search value, with at most a few of its values.

    A list of up to three values is returned unchanged. Of a longer one, the values that are among `found` are
    kept, without such values the first two, and the rest is counted: `a, b and 27 more codes`. A text in
    `found` may itself list several values, as that of a CodeableConcept does.
    """
    alternatives = _ALTERNATIVE.findall(values)
    if len(alternatives) <= _MAX_ALTERNATIVES:
        return values
    single = {value for text in found for value in text.split(", ")}
    kept = [value for value in alternatives if value in single] or alternatives[:_FIRST]
    rest = len(alternatives) - len(kept)
    noun = "code" if all("|" in value for value in alternatives) else "value"
    return ", ".join(kept) + (f" and {rest} more {noun if rest == 1 else f'{noun}s'}" if rest else "")


def shorten_term(text: str, found: Collection[str] = ()) -> str:
    """A search term `parameter=value` with its list shortened by `shorten_list`."""
    name, separator, value = text.partition("=")
    return f"{name}{separator}{shorten_list(value, found)}"
