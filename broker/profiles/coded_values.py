"""The codes of coded values: codes, Codings, CodeableConcepts, Quantities."""

from collections.abc import Callable, Iterator
from typing import Any

from broker.profiles.value_sets import Codes

CODED = frozenset({"code", "Coding", "CodeableConcept", "Quantity", "string", "uri", "CodeableReference"})


def codes_in(value: Any) -> Iterator[tuple[str | None, Any]]:
    """The pairs of system and code of a value of any coded type; the system is None for a bare code."""
    if isinstance(value, str):
        yield None, value
    elif isinstance(value, dict):
        if "concept" in value or "coding" in value:
            concept = value.get("concept", value)
            for coding in concept.get("coding", ()):
                yield coding.get("system", ""), coding.get("code")
        elif "code" in value or "system" in value:
            yield value.get("system", ""), value.get("code")


def membership(codes: Codes) -> Callable[[Any], bool]:
    """Whether one code of a value is in the value set."""
    bare = frozenset(code for _, code in codes)

    def is_member(value: Any) -> bool:
        return any(
            code in bare if system is None else (system, code) in codes for system, code in codes_in(value)
        )

    return is_member
