"""Strings, URIs and the text that goes with codes (R-404, R-406)."""

from collections.abc import Iterator
from typing import Any

from broker.matching.values import ElementTest, fold
from broker.model.search import Modifier

_NAME_PARTS = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS = ("line", "city", "district", "state", "postalCode", "country")
_STRING_PARTS = (*_NAME_PARTS, *_ADDRESS_PARTS)


def string_test(text: str, modifier: Modifier | None) -> ElementTest:
    """By default the start of any part of a name or address, case and accents aside."""
    if modifier is Modifier.EXACT:
        return lambda element, _: text in string_parts(element)
    folded = fold(text)
    if modifier in {Modifier.CONTAINS, Modifier.TEXT}:
        return lambda element, _: any(folded in fold(one) for one in string_parts(element))
    return lambda element, _: any(fold(one).startswith(folded) for one in string_parts(element))


def string_parts(element: Any) -> list[str]:
    """A string, or the parts of a HumanName or Address."""
    if not isinstance(element, dict):
        return [element]
    found: list[str] = []
    for name in _STRING_PARTS:
        part = element.get(name)
        if isinstance(part, list):
            found += [one for one in part if one is not None]
        elif part is not None:
            found.append(part)
    return found


def uri_test(text: str, modifier: Modifier | None) -> ElementTest:
    """Whole URIs, a version behind a bar aside; `:below` and `:above` by whole steps of the path."""
    if modifier is Modifier.CONTAINS:
        folded = fold(text)
        return lambda element, _: folded in fold(element)
    if modifier is Modifier.BELOW:
        below = text.rstrip("/") + "/"
        return lambda element, _: element == text or element.startswith(below)
    if modifier is Modifier.ABOVE:
        return lambda element, _: element == text or text.startswith(element.rstrip("/") + "/")
    return lambda element, _: element == text or is_version_of(element, text)


def is_version_of(found: str, canonical: str) -> bool:
    """`url|2.0` is a version of `url`."""
    return "|" in found and found.split("|", 1)[0] == canonical


def display_test(text: str) -> ElementTest:
    """The start of a text or display that goes with a code, identifier or reference."""
    start = fold(text)
    return lambda element, _: any(fold(one).startswith(start) for one in _displays(element))


def _displays(element: Any) -> Iterator[str]:
    if not isinstance(element, dict):
        return
    yield from (element[name] for name in ("text", "display") if name in element)
    for name in ("type", "concept", "reference"):
        if isinstance(element.get(name), dict):
            yield from _displays(element[name])
    for coding in element.get("coding", ()):
        yield from _displays(coding)
