"""How the elements of a focus become the keys that the index looks up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.matching.predicates import LookupKey, PredicateKind
from broker.matching.references import normal_reference, plain_reference, reference_text
from broker.matching.strings import string_parts
from broker.matching.tokens import token_pairs


@dataclass(slots=True)
class ExtractedKeys:
    """The keys of one parameter of one focus.

    `codes_without_system` match whatever system a filter names (R-403). `failure` says why the extraction
    stopped; the keys of the elements before that count.
    """

    keys: set[LookupKey] = field(default_factory=set)
    codes_without_system: set[str] = field(default_factory=set)
    failure: str | None = None

    def has_any(self, keys: frozenset[LookupKey]) -> bool:
        if not self.keys.isdisjoint(keys):
            return True
        return bool(self.codes_without_system) and any(
            isinstance(key, tuple) and len(key) == 2 and key[1] in self.codes_without_system for key in keys
        )


AddKeys = Callable[[Any, ExtractedKeys], None]
"""Adds the keys of one element. Raises one of READ_ERRORS for an element that is not as FHIR defines it."""


def key_extractor(kind: PredicateKind, base_urls: frozenset[str]) -> AddKeys:
    """The function that adds the keys of an element, for one kind of predicate."""
    if kind is PredicateKind.REFERENCE:
        return _reference_extractor(base_urls)
    return _EXTRACTORS.get(kind, _add_token)


def _add_token(element: Any, extracted: ExtractedKeys) -> None:
    for system, code in token_pairs(element):
        if isinstance(code, str):
            extracted.keys.add(code)
            if system is None:
                extracted.codes_without_system.add(code)
            elif isinstance(system, str):
                extracted.keys.add((system, code))
        if isinstance(system, str):
            extracted.keys.add((system,))


def _add_identifier(element: Any, extracted: ExtractedKeys) -> None:
    identifier = plain_reference(element).get("identifier") if isinstance(element, dict) else None
    if identifier is not None:
        _add_token(identifier, extracted)


def _add_typed_identifier(element: Any, extracted: ExtractedKeys) -> None:
    number = element.get("value") if isinstance(element, dict) else None
    if isinstance(number, str):
        extracted.keys.add(number)


def _add_uri(element: Any, extracted: ExtractedKeys) -> None:
    if isinstance(element, str):
        extracted.keys.add(element)
    if "|" in element:
        extracted.keys.add(element.split("|", 1)[0])


def _add_string(element: Any, extracted: ExtractedKeys) -> None:
    parts: list[Any] = string_parts(element)  # any type, if the resource is not as FHIR defines it
    extracted.keys.update(part for part in parts if isinstance(part, str))


_EXTRACTORS: dict[PredicateKind, AddKeys] = {
    PredicateKind.TOKEN: _add_token,
    PredicateKind.IDENTIFIER: _add_identifier,
    PredicateKind.TYPED_IDENTIFIER: _add_typed_identifier,
    PredicateKind.URI: _add_uri,
    PredicateKind.EXACT_STRING: _add_string,
}


def _reference_extractor(base_urls: frozenset[str]) -> AddKeys:
    prefixes = tuple(base_urls)

    def add_reference(element: Any, extracted: ExtractedKeys) -> None:
        text = reference_text(element)
        if text is None:
            return
        if text.startswith(prefixes) or "/_history/" in text:
            text = normal_reference(text, base_urls)
        extracted.keys.add(text)
        if "|" in text:
            extracted.keys.add(text.split("|", 1)[0])

    return add_reference
