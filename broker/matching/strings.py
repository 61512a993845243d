"""Tests for strings, URIs and display texts (R-404, R-406)."""

from collections.abc import Iterator
from typing import Any

from broker.matching.values import ElementTest, check_blanks, fold
from broker.model.search import Modifier

_NAME_PARTS = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS = ("line", "city", "district", "state", "postalCode", "country")
_STRING_PARTS = (*_NAME_PARTS, *_ADDRESS_PARTS)


def string_test(text: str, modifier: Modifier | None) -> ElementTest:
    """Without a modifier, matches the start of any part of a name or address, without case and accents."""
    if modifier is Modifier.EXACT:
        return lambda element, _: text in string_parts(element)
    folded = fold(text)
    if modifier in {Modifier.CONTAINS, Modifier.TEXT}:
        return lambda element, _: any(folded in fold(part) for part in string_parts(element))
    return lambda element, _: any(fold(part).startswith(folded) for part in string_parts(element))


def string_parts(element: Any) -> list[str]:
    """The string itself, or the parts of a HumanName or Address."""
    if not isinstance(element, dict):
        return [element]
    parts: list[str] = []
    for name in _STRING_PARTS:
        value = element.get(name)
        if isinstance(value, list):
            parts += [part for part in value if part is not None]
        elif value is not None:
            parts.append(value)
    return parts


def uri_test(text: str, modifier: Modifier | None) -> ElementTest:
    """Matches whole URIs, with or without a version after `|`; `:below` and `:above` compare whole path
    segments. Raises BadValue.
    """
    check_blanks(text, text)
    if modifier is Modifier.CONTAINS:
        folded = fold(text)
        return lambda element, _: folded in fold(element)
    if modifier is Modifier.BELOW:
        below = text.rstrip("/") + "/"
        return lambda element, _: element == text or element.startswith(below)
    if modifier is Modifier.ABOVE:
        return lambda element, _: element == text or text.startswith(element.rstrip("/") + "/")
    return lambda element, _: element == text or is_version_of(element, text)


def is_version_of(uri: str, canonical: str) -> bool:
    """`url|2.0` is a version of `url`."""
    return "|" in uri and uri.split("|", 1)[0] == canonical


def display_test(text: str) -> ElementTest:
    """Matches the start of the text or display of a code, identifier or reference."""
    start = fold(text)
    return lambda element, _: any(fold(display).startswith(start) for display in _displays(element))


def _displays(element: Any) -> Iterator[str]:
    if not isinstance(element, dict):
        return
    yield from (element[name] for name in ("text", "display") if name in element)
    for name in ("type", "concept", "reference"):
        if isinstance(element.get(name), dict):
            yield from _displays(element[name])
    for coding in element.get("coding", ()):
        yield from _displays(coding)
