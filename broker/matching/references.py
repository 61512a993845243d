"""References: one resource has one reference, however it is written (R-405)."""

import re
from typing import Any

from broker.matching.strings import display_test, is_version_of
from broker.matching.tokens import token_test
from broker.matching.values import BadValue, ElementTest, unescape
from broker.model.search import Modifier, SearchParameter


def normal_reference(text: str, base_urls: frozenset[str]) -> str:
    """`Patient/123` for this server's resources however they are written, without version; others as they are (R-405)."""
    text = text.split("/_history/", 1)[0]
    for base in base_urls:
        if text.startswith(base.rstrip("/") + "/"):
            return text[len(base.rstrip("/")) + 1 :]
    return text


def wanted_reference(text: str, targets: tuple[str, ...], base_urls: frozenset[str]) -> str:
    """Raises BadValue for a bare id where several types could be meant, and for a type that the parameter never points at."""
    reference = normal_reference(unescape(text).strip(), base_urls)
    if not reference or reference.startswith("#"):
        raise BadValue("a reference is written Type/id, id or an absolute URL")
    if ":" in reference:
        return reference
    type_name, slash, rest = reference.partition("/")
    if not slash:
        if len(targets) != 1:
            raise BadValue(f"{reference!r} doesn't say which type it is: write Type/{reference}")
        return f"{targets[0]}/{reference}"
    if not rest or "/" in rest:
        raise BadValue(f"{reference!r} is no reference")
    if targets and type_name not in targets:
        raise BadValue(f"it never refers to {type_name}, only to {', '.join(targets)}")
    return reference


def reference_targets(parameter: SearchParameter) -> tuple[str, ...]:
    """The types a reference parameter finds: an expression with `resolve() is Patient` finds patients only (R-405)."""
    narrowed = re.findall(r"resolve\(\) is (\w+)", parameter.expression)
    return tuple(dict.fromkeys(narrowed)) or parameter.targets


def plain_reference(element: dict[str, Any]) -> dict[str, Any]:
    """A Reference; that within a CodeableReference where the element is one."""
    inner = element.get("reference")
    return inner if isinstance(inner, dict) else element


def reference_text(element: Any) -> str | None:
    """Where a Reference, CodeableReference, canonical or uri points; None for one that only describes its target."""
    said = plain_reference(element).get("reference") if isinstance(element, dict) else element
    return said if isinstance(said, str) else None


def reference_test(
    text: str, modifier: Modifier | None, targets: tuple[str, ...], base_urls: frozenset[str]
) -> ElementTest:
    """One alternative. Raises BadValue."""
    if modifier in {Modifier.TEXT, Modifier.CODE_TEXT}:
        return display_test(unescape(text))
    if modifier is Modifier.IDENTIFIER:
        is_identifier = token_test(text, None)

        def by_identifier(element: Any, resource: dict[str, Any]) -> bool:
            identifier = plain_reference(element).get("identifier") if isinstance(element, dict) else None
            return identifier is not None and is_identifier(identifier, resource)

        return by_identifier
    wanted = wanted_reference(text, targets, base_urls)

    def matches(element: Any, _: dict[str, Any]) -> bool:
        said = reference_text(element)
        if said is None:
            return False
        found = normal_reference(said, base_urls)
        return found == wanted or is_version_of(found, wanted)

    return matches
