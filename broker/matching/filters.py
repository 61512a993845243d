"""Filters as closures over a resource: the naive evaluator, and the oracle for any quicker one.

What can't be evaluated exactly is named by `unsupported` and refused when compiled, so that no filter is accepted and then
ignored. A compiled filter raises EvaluationFailed on a resource it can't be evaluated on: that is never a pass (R-410).
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, assert_never

from broker.errors import BrokerError
from broker.matching import values
from broker.matching.extract import compile_extractor
from broker.matching.fhirpath import EvaluationFailed
from broker.matching.values import BadValue
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

Test = Callable[[dict[str, Any]], bool]
_Matches = Callable[[Any, dict[str, Any]], bool]
"""Whether an element, of the resource given second, matches one search value."""

ORDERED = frozenset({ParameterType.NUMBER, ParameterType.DATE, ParameterType.QUANTITY})
_IMPLEMENTED = {
    ParameterType.NUMBER: {Modifier.MISSING},
    ParameterType.DATE: {Modifier.MISSING},
    ParameterType.QUANTITY: {Modifier.MISSING},
    ParameterType.STRING: {Modifier.MISSING, Modifier.EXACT, Modifier.CONTAINS, Modifier.TEXT},
    ParameterType.TOKEN: {
        Modifier.MISSING,
        Modifier.NOT,
        Modifier.TEXT,
        Modifier.CODE_TEXT,
        Modifier.OF_TYPE,
    },
    ParameterType.REFERENCE: {
        Modifier.MISSING,
        Modifier.IDENTIFIER,
        Modifier.TYPE,
        Modifier.TEXT,
        Modifier.CODE_TEXT,
    },
    ParameterType.URI: {Modifier.MISSING, Modifier.BELOW, Modifier.ABOVE, Modifier.CONTAINS},
    ParameterType.COMPOSITE: set[Modifier](),
    ParameterType.SPECIAL: set[Modifier](),
}
_NEEDS_MORE_THAN_THE_RESOURCE = frozenset(
    {"_in", "_text", "_content", "_filter", "_has", "_list", "_query", "_type", "phonetic"}
)
_MODIFIERS = {one.value: one for one in Modifier}
_NAME_PARTS = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS = ("line", "city", "district", "state", "postalCode", "country")
_STRING_PARTS = (*_NAME_PARTS, *_ADDRESS_PARTS)


class BadFilter(BrokerError):  # noqa: N818 named for what is the case
    """A filter that is not implemented, or that its parameter can't have."""


def unsupported(wanted: Filter, parameter: SearchParameter) -> str | None:
    """Why the filter can't be evaluated, in words for its author; None where it can (R-408). The value is not looked at."""
    if parameter.type is ParameterType.SPECIAL or parameter.code in _NEEDS_MORE_THAN_THE_RESOURCE:
        return "is not implemented"
    if not parameter.expression:
        return "has no expression to evaluate"
    if parameter.type is ParameterType.COMPOSITE and not _is_evaluable(parameter):
        return "has components that are not implemented"
    if wanted.modifier is not None:
        if wanted.comparator is not None:
            return "takes a comparator or a modifier, not both"
        return _unsupported_modifier(wanted.modifier, parameter)
    if wanted.comparator not in {None, Comparator.EQ} and parameter.type not in ORDERED:
        return f"is a {parameter.type} parameter, which takes no comparator"
    return None


def modifier_of(text: str) -> Modifier | None:
    """The modifier a filter's text means; a type name is `type` (R-406). None for an unknown word."""
    if text[:1].isupper():
        return Modifier.TYPE
    return _MODIFIERS.get(text)


def compile_filter(
    wanted: Filter,
    parameter: SearchParameter,
    base_urls: frozenset[str] = frozenset(),
    release: Release = Release.R5,
) -> Test:
    """Raises BadFilter or BadValue; the test raises EvaluationFailed. `release` is that of the resources it will see."""
    reason = unsupported(wanted, parameter)
    if reason is not None:
        raise BadFilter(f"{wanted.parameter} {reason}")
    test = _compile(wanted, parameter, base_urls, release)

    def passes(resource: dict[str, Any]) -> bool:
        try:
            return test(resource)
        except (BadValue, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise EvaluationFailed(f"{parameter.code}: {error}") from error

    return passes


def comparators_used(wanted: Filter, parameter: SearchParameter) -> frozenset[Comparator]:
    """The comparators a filter asks for: its own and the prefixes within its value, parts of a composite included."""
    if wanted.modifier is not None:
        return frozenset()
    found = {wanted.comparator or Comparator.EQ}
    if wanted.comparator is None:
        for text in values.split(wanted.value, ","):
            if parameter.type is ParameterType.COMPOSITE:
                parts = zip(parameter.components, values.split(text, "$"), strict=False)
                found |= {values.split_prefix(part)[0] for one, part in parts if one.type in ORDERED}
            elif parameter.type in ORDERED:
                found.add(values.split_prefix(text)[0])
    return frozenset(found)


def reference_targets(parameter: SearchParameter) -> tuple[str, ...]:
    """The types a reference parameter finds: an expression with `resolve() is Patient` finds patients only (R-405)."""
    narrowed = re.findall(r"resolve\(\) is (\w+)", parameter.expression)
    return tuple(dict.fromkeys(narrowed)) or parameter.targets


def _is_evaluable(composite: SearchParameter) -> bool:
    beyond = {ParameterType.SPECIAL, ParameterType.COMPOSITE}
    return bool(composite.components) and all(one.type not in beyond for one in composite.components)


def _unsupported_modifier(text: str, parameter: SearchParameter) -> str | None:
    modifier = modifier_of(text)
    if modifier is None:
        return f"has no modifier :{text}"
    if modifier not in _IMPLEMENTED[parameter.type]:
        return f"is a {parameter.type} parameter, for which :{text} is not implemented"
    targets = reference_targets(parameter)
    if modifier is Modifier.TYPE and text[0].isupper() and targets and text not in targets:
        return f"never refers to {text}, only to {', '.join(targets)}"
    return None


def _compile(wanted: Filter, parameter: SearchParameter, base_urls: frozenset[str], release: Release) -> Test:
    extract = compile_extractor(parameter.expression, release)
    if wanted.modifier == Modifier.MISSING:
        if wanted.value not in {"true", "false"}:
            raise BadValue(":missing is true or false")
        is_missing = wanted.value == "true"
        return lambda resource: (not extract(resource)) is is_missing
    texts = values.split(wanted.value, ",")
    if parameter.type is ParameterType.COMPOSITE:
        alternatives = [_composite(text, parameter, base_urls, release) for text in texts]
    else:
        targets = reference_targets(parameter)
        alternatives = [_matches(text, wanted, parameter.type, targets, base_urls) for text in texts]
    matches = _any(alternatives)

    def test(resource: dict[str, Any]) -> bool:
        return any(matches(node.value, resource) for node in extract(resource))

    if wanted.modifier == Modifier.NOT:
        return lambda resource: not test(resource)
    return test


def _any(alternatives: list[_Matches]) -> _Matches:
    if len(alternatives) == 1:
        return alternatives[0]
    return lambda element, resource: any(matches(element, resource) for matches in alternatives)


def _composite(
    text: str, parameter: SearchParameter, base_urls: frozenset[str], release: Release
) -> _Matches:
    """All components match within one and the same element."""
    parts = values.split(text, "$")
    if len(parts) != len(parameter.components):
        raise BadValue(f"takes {len(parameter.components)} parts joined by $")
    plain = Filter(parameter.code, "")
    tests = [
        (compile_extractor(one.expression, release), _matches(part, plain, one.type, (), base_urls))
        for one, part in zip(parameter.components, parts, strict=True)
    ]

    def matches(element: Any, resource: dict[str, Any]) -> bool:
        return all(any(match(node.value, resource) for node in extract(element)) for extract, match in tests)

    return matches


def _matches(
    text: str, wanted: Filter, kind: ParameterType, targets: tuple[str, ...], base_urls: frozenset[str]
) -> _Matches:
    """One alternative of a search value, its escapes still in it."""
    if not text.strip():
        raise BadValue("an empty value")
    modifier = modifier_of(wanted.modifier) if wanted.modifier is not None else None
    match kind:
        case ParameterType.NUMBER | ParameterType.DATE | ParameterType.QUANTITY:
            return _ordered(kind, text, wanted.comparator)
        case ParameterType.TOKEN:
            return _token(text, modifier)
        case ParameterType.REFERENCE:
            if wanted.modifier is not None and modifier is Modifier.TYPE:
                targets = (wanted.modifier,) if wanted.modifier[0].isupper() else ()
            return _reference(text, modifier, targets, base_urls)
        case ParameterType.STRING:
            return _string(values.unescape(text), modifier)
        case ParameterType.URI:
            return _uri(values.unescape(text), modifier)
        case ParameterType.COMPOSITE | ParameterType.SPECIAL:
            raise BadFilter("is not implemented")
        case _:
            assert_never(kind)


def _ordered(kind: ParameterType, text: str, asked: Comparator | None) -> _Matches:
    comparator, rest = values.split_prefix(text)
    if asked is not None:
        if rest != text:
            raise BadValue("a comparator twice: as such and before the value")
        comparator = asked
    text = rest
    if kind is ParameterType.DATE:
        interval = values.date_interval(text)

        def date_matches(element: Any, resource: dict[str, Any]) -> bool:
            span = values.date_span(element)
            now = _now(resource) if comparator is Comparator.AP else None
            return span is not None and values.compare_dates(comparator, span, interval, now)

        return date_matches
    if kind is ParameterType.QUANTITY:
        quantity = values.wanted_quantity(text)
        return lambda element, _: values.compare_quantity(comparator, element, quantity)
    number = values.wanted_number(text)
    anyhow = values.WantedQuantity(number, None, None)

    def number_matches(element: Any, _: dict[str, Any]) -> bool:
        if isinstance(element, dict):  # a Range
            return values.compare_quantity(comparator, element, anyhow)
        exact = values.decimal_of(element)
        return values.compare_numbers(comparator, values.Span(exact, exact), number)

    return number_matches


def _now(resource: dict[str, Any]) -> int | None:
    """The time of the change, not of the evaluation: a change matched again gives the same matches."""
    updated = resource.get("meta", {}).get("lastUpdated")
    return None if updated is None else values.date_interval(updated).low


def _token(text: str, modifier: Modifier | None) -> _Matches:
    if modifier in {Modifier.TEXT, Modifier.CODE_TEXT}:
        return _display(values.unescape(text))
    if modifier is Modifier.OF_TYPE:
        return _of_type(text)
    wanted = values.wanted_token(text)

    def is_pair(system: str | None, code: str | None) -> bool:
        if wanted.code is not None and wanted.code != code:
            return False
        return wanted.system is None or wanted.system == (system or "")

    def matches(element: Any, resource: dict[str, Any]) -> bool:
        if not isinstance(element, dict):
            # a code, id or boolean has its system from its definition, which isn't known here: the code decides
            said = str(element).lower() if isinstance(element, bool) else str(element)
            return wanted.code == said
        if "coding" in element:
            return any(is_pair(one.get("system"), one.get("code")) for one in element["coding"])
        if "concept" in element:  # CodeableReference
            return matches(element["concept"], resource)
        return is_pair(element.get("system"), element.get("code", element.get("value")))

    return matches


def _of_type(text: str) -> _Matches:
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise BadValue(":of-type is written type system|type code|value")
    system, code, number = parts

    def matches(identifier: Any, _: dict[str, Any]) -> bool:
        if not isinstance(identifier, dict) or identifier.get("value") != number:
            return False
        codings = identifier.get("type", {}).get("coding", ())
        return any(one.get("system") == system and one.get("code") == code for one in codings)

    return matches


def _display(text: str) -> _Matches:
    start = values.fold(text)

    def texts(element: Any) -> Iterator[str]:
        if isinstance(element, dict):
            yield from (element[name] for name in ("text", "display") if name in element)
            for name in ("type", "concept"):
                if isinstance(element.get(name), dict):
                    yield from texts(element[name])
            for coding in element.get("coding", ()):
                yield from texts(coding)

    return lambda element, _: any(values.fold(one).startswith(start) for one in texts(element))


def _reference(
    text: str, modifier: Modifier | None, targets: tuple[str, ...], base_urls: frozenset[str]
) -> _Matches:
    if modifier in {Modifier.TEXT, Modifier.CODE_TEXT}:
        return _display(values.unescape(text))
    if modifier is Modifier.IDENTIFIER:
        is_identifier = _token(text, None)

        def by_identifier(element: Any, resource: dict[str, Any]) -> bool:
            identifier = _plain(element).get("identifier") if isinstance(element, dict) else None
            return identifier is not None and is_identifier(identifier, resource)

        return by_identifier
    wanted = values.wanted_reference(text, targets, base_urls)

    def matches(element: Any, _: dict[str, Any]) -> bool:
        said = _plain(element).get("reference") if isinstance(element, dict) else element
        if said is None:
            return False
        found = values.normal_reference(said, base_urls)
        return found == wanted or _is_version_of(found, wanted)

    return matches


def _plain(reference: dict[str, Any]) -> dict[str, Any]:
    """A Reference; that within a CodeableReference where the element is one."""
    inner = reference.get("reference")
    return inner if isinstance(inner, dict) else reference


def _is_version_of(found: str, canonical: str) -> bool:
    """`url|2.0` is a version of `url`."""
    return "|" in found and found.split("|", 1)[0] == canonical


def _string(text: str, modifier: Modifier | None) -> _Matches:
    if modifier is Modifier.EXACT:
        return lambda element, _: text in _strings(element)
    folded = values.fold(text)
    if modifier in {Modifier.CONTAINS, Modifier.TEXT}:
        return lambda element, _: any(folded in values.fold(one) for one in _strings(element))
    return lambda element, _: any(values.fold(one).startswith(folded) for one in _strings(element))


def _strings(element: Any) -> list[str]:
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


def _uri(text: str, modifier: Modifier | None) -> _Matches:
    if modifier is Modifier.CONTAINS:
        folded = values.fold(text)
        return lambda element, _: folded in values.fold(element)
    if modifier is Modifier.BELOW:
        below = text.rstrip("/") + "/"
        return lambda element, _: element == text or element.startswith(below)
    if modifier is Modifier.ABOVE:
        return lambda element, _: element == text or text.startswith(element.rstrip("/") + "/")
    return lambda element, _: element == text or _is_version_of(element, text)
