"""Tokens: codes and identifiers, with every modifier that can be told from the element and the value sets (R-403, R-406)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from broker.matching.problems import EvaluationFailed
from broker.matching.strings import display_test
from broker.matching.values import BadFilter, BadValue, ElementTest, split, unescape
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.search import Modifier

_Pair = tuple[str | None, str | None]
"""System and code; the system is "" where there is none, None where only the element's definition tells it."""


class WantedToken(NamedTuple):
    """R-403: `system` None is any system, "" is none; `code` None is any code of the system."""

    system: str | None
    code: str | None


def wanted_token(text: str) -> WantedToken:
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) > 2 or not any(parts):
        raise BadValue("a token is written code, system|code, |code or system|")
    if len(parts) == 1:
        return WantedToken(None, parts[0])
    return WantedToken(parts[0], parts[1] or None)


def token_test(text: str, modifier: Modifier | None, value_sets: ValueSets = NO_VALUE_SETS) -> ElementTest:
    """One alternative. For `:not` and `:not-in` it is the test whose opposite is meant. Raises BadValue, and BadFilter for unknown codes."""
    match modifier:
        case Modifier.TEXT | Modifier.CODE_TEXT:
            return display_test(unescape(text))
        case Modifier.OF_TYPE:
            return _of_type(text)
        case Modifier.IN | Modifier.NOT_IN:
            return _in(unescape(text), value_sets)
        case Modifier.BELOW | Modifier.ABOVE:
            return _subsumption(text, value_sets, is_below=modifier is Modifier.BELOW)
    wanted = wanted_token(text)

    def is_wanted(pair: _Pair) -> bool:
        system, code = pair
        if wanted.code is not None and wanted.code != code:
            return False
        if system is None:  # the code decides: a code, id or boolean carries no system
            return wanted.code is not None
        return wanted.system is None or wanted.system == system

    return lambda element, _: any(is_wanted(one) for one in token_pairs(element))


def token_pairs(element: Any) -> Iterator[_Pair]:
    """What a code, boolean, Coding, CodeableConcept, CodeableReference, Identifier or ContactPoint says."""
    if not isinstance(element, dict):
        yield None, str(element).lower() if isinstance(element, bool) else str(element)
    elif "coding" in element:
        yield from ((one.get("system") or "", one.get("code")) for one in element["coding"])
    elif "concept" in element:
        yield from token_pairs(element["concept"])
    else:
        yield element.get("system") or "", element.get("code", element.get("value"))


def _of_type(text: str) -> ElementTest:
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise BadValue(":of-type is written type system|type code|value")
    system, code, number = parts

    def matches(identifier: Any, _: dict[str, Any]) -> bool:
        if not isinstance(identifier, dict) or identifier.get("value") != number:
            return False
        codings = identifier.get("type", {}).get("coding", ())
        return any(one.get("system") == system and one.get("code") == code for one in codings)

    return matches


def _in(url: str, value_sets: ValueSets) -> ElementTest:
    if value_sets.resolve(url) is None:
        raise BadFilter(f"the value set {url} is not known here")

    def matches(element: Any, _: dict[str, Any]) -> bool:
        codes = value_sets.resolve(url)
        if codes is None:
            raise EvaluationFailed(f"the value set {url} is no longer known")
        for system, code in token_pairs(element):
            if (system, code) in codes or (system is None and any(one == code for _, one in codes)):
                return True
        return False

    return matches


def _subsumption(text: str, value_sets: ValueSets, *, is_below: bool) -> ElementTest:
    wanted = wanted_token(text)
    if not wanted.system or wanted.code is None:
        raise BadValue("a code to compare in a hierarchy is written system|code")
    system, code = wanted.system, wanted.code
    if value_sets.ancestors(system, code) is None:
        raise BadFilter(f"the hierarchy of {system} above and below {code!r} is not known here")

    def matches(element: Any, _: dict[str, Any]) -> bool:
        above_wanted = value_sets.ancestors(system, code)
        if above_wanted is None:
            raise EvaluationFailed(f"the hierarchy of {system} is no longer known")
        for said_system, said in token_pairs(element):
            if said_system not in {None, system} or said is None:
                continue
            if is_below and code in (value_sets.ancestors(system, said) or ()):
                return True
            if not is_below and said in above_wanted:
                return True
        return False

    return matches
