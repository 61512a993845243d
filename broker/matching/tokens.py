"""Tests for tokens: codes and identifiers, with the modifiers that the element and the value sets decide
(R-403, R-406).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from broker.matching.problems import EvaluationFailed
from broker.matching.strings import display_test
from broker.matching.values import BadFilter, BadValue, ElementTest, check_blanks, split, unescape
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.search import Modifier

_Pair = tuple[str | None, str | None]
"""System and code. The system is "" if the element has none, None if only its definition says which it is."""


class SearchToken(NamedTuple):
    """A token of a search value (R-403): `system` None is any system, "" is no system; `code` None is any
    code.
    """

    system: str | None
    code: str | None


def parse_token(text: str) -> SearchToken:
    """Parses `code`, `system|code`, `|code` or `system|`. Raises BadValue.

    A code or system has no blank before or after it, so a value with one would never match.
    """
    parts = [unescape(part) for part in split(text, "|")]
    check_blanks(text, *parts)
    if len(parts) > 2 or not any(parts):
        raise BadValue("a token is written code, system|code, |code or system|")
    if len(parts) == 1:
        return SearchToken(None, parts[0])
    return SearchToken(parts[0], parts[1] or None)


def token_test(text: str, modifier: Modifier | None, value_sets: ValueSets = NO_VALUE_SETS) -> ElementTest:
    """The test for one alternative. For `:not` and `:not-in` the caller negates it.

    Raises BadValue, and BadFilter for an unknown value set or code.
    """
    match modifier:
        case Modifier.TEXT | Modifier.CODE_TEXT:
            return display_test(unescape(text))
        case Modifier.OF_TYPE:
            return _of_type(text)
        case Modifier.IN | Modifier.NOT_IN:
            return _in(unescape(text), value_sets)
        case Modifier.BELOW | Modifier.ABOVE:
            return _subsumption(text, value_sets, is_below=modifier is Modifier.BELOW)
    searched = parse_token(text)

    def matches(pair: _Pair) -> bool:
        system, code = pair
        if searched.code is not None and searched.code != code:
            return False
        if system is None:  # a code, id or boolean has no system, so the code decides
            return searched.code is not None
        return searched.system is None or searched.system == system

    return lambda element, _: any(matches(pair) for pair in token_pairs(element))


def token_pairs(element: Any) -> Iterator[_Pair]:
    """Tokens of a code, boolean, Coding, CodeableConcept, CodeableReference, Identifier or ContactPoint."""
    if not isinstance(element, dict):
        yield None, str(element).lower() if isinstance(element, bool) else str(element)
    elif "coding" in element:
        yield from ((coding.get("system") or "", coding.get("code")) for coding in element["coding"])
    elif "concept" in element:
        yield from token_pairs(element["concept"])
    else:
        yield element.get("system") or "", element.get("code", element.get("value"))


def _of_type(text: str) -> ElementTest:
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise BadValue(":of-type is written type system|type code|value")
    system, code, number = parts
    check_blanks(text, *parts)

    def matches(identifier: Any, _: dict[str, Any]) -> bool:
        if not isinstance(identifier, dict) or identifier.get("value") != number:
            return False
        codings = identifier.get("type", {}).get("coding", ())
        return any(coding.get("system") == system and coding.get("code") == code for coding in codings)

    return matches


def _in(url: str, value_sets: ValueSets) -> ElementTest:
    if value_sets.resolve(url) is None:
        raise BadFilter(f"the value set {url} is not loaded")

    def matches(element: Any, _: dict[str, Any]) -> bool:
        codes = value_sets.resolve(url)
        if codes is None:
            raise EvaluationFailed(f"the value set {url} is no longer loaded")
        for system, code in token_pairs(element):
            if (system, code) in codes:
                return True
            if system is None and code is not None and value_sets.lists(url, code):
                return True
        return False

    return matches


def _subsumption(text: str, value_sets: ValueSets, *, is_below: bool) -> ElementTest:
    searched = parse_token(text)
    if not searched.system or searched.code is None:
        raise BadValue("a code to compare in a hierarchy is written system|code")
    system, code = searched.system, searched.code
    if value_sets.ancestors(system, code) is None:
        raise BadFilter(f"the hierarchy of {system} above and below {code!r} is not loaded")

    def matches(element: Any, _: dict[str, Any]) -> bool:
        ancestors = value_sets.ancestors(system, code)
        if ancestors is None:
            raise EvaluationFailed(f"the hierarchy of {system} is no longer loaded")
        for element_system, element_code in token_pairs(element):
            if element_system not in {None, system} or element_code is None:
                continue
            if is_below and code in (value_sets.ancestors(system, element_code) or ()):
                return True
            if not is_below and element_code in ancestors:
                return True
        return False

    return matches
