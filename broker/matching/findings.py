"""What a filter looks at in a resource, as short texts for people: `8867-4` of LOINC, `91 mm[Hg]`, `Patient/1`.

Nothing is decided here. A value that can't be read is left out; what that means for the filter is told by its test.
"""

import json
from collections.abc import Iterator
from typing import Any

from broker.errors import BrokerError
from broker.matching.chains import Chain, ChainTest, ends
from broker.matching.extract import compile_extractor
from broker.matching.states import RelatedStates
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter

MOST = 20
MAX_CHARS = 120
_UNREADABLE = (BrokerError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


def text_of(wanted: Filter) -> str:
    """The filter as a search term: `code:not=8867-4`, `value-quantity=gt90`."""
    modifier = f":{wanted.modifier}" if wanted.modifier is not None else ""
    return f"{wanted.parameter}{modifier}={wanted.comparator or ''}{wanted.value}"


def found_values(parameter: SearchParameter, release: Release, state: dict[str, Any] | None) -> list[str]:
    """The values the parameter selects, the first `MOST` of them; none that are empty."""
    if state is None:
        return []
    try:
        nodes = compile_extractor(parameter.expression, release)(state)
        shown = [_parts(parameter, release, node.value) for node in nodes]
    except _UNREADABLE:
        return []
    return list(dict.fromkeys(one for one in shown if one.strip()))[:MOST]


def found_through(
    chain: Chain,
    reference: SearchParameter,
    test: ChainTest,
    table: ParameterTable,
    state: dict[str, Any] | None,
    related: RelatedStates,
) -> list[str]:
    """The targets a chain leads to, each with what its parameter selects there: `Patient/1: female`."""
    found = []
    try:
        known = {(release, kind): parameter for release, kind, parameter in ends(chain, reference, table)}
    except BadFilter:
        return []
    for target in sorted(test.needs(state) if state is not None else ()):
        name, held = "/".join(target), related.find(target)
        if held is None:
            found.append(f"{name}: not stored")
            continue
        parameter = known.get((held[1], target[0]))
        values = [] if parameter is None else found_values(parameter, held[1], held[0])
        found.append(f"{name}: {', '.join(values) or 'nothing'}")
    return found[:MOST]


def _parts(parameter: SearchParameter, release: Release, value: Any) -> str:
    """Of a composite, its components within one element; '' where the element has none of them."""
    if not parameter.components:
        return short(value)
    found = [
        ", ".join(short(node.value) for node in compile_extractor(one.expression, release)(value))
        for one in parameter.components
    ]
    return " $ ".join(one or "nothing" for one in found) if any(found) else ""


def short(value: Any) -> str:
    """One value in at most `MAX_CHARS` characters; never fails."""
    try:
        text = _short(value)
    except _UNREADABLE:
        text = ""
    text = text or json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict):
        return str(value)
    return next((text for text in _readings(value) if text), "")


def _readings(value: dict[str, Any]) -> Iterator[str]:
    """What the element may be, in turn; the first that gives a text is it."""
    if "coding" in value:  # a CodeableConcept
        yield ", ".join(_code(one) for one in value["coding"])
    if "concept" in value:  # a CodeableReference
        yield _short(value["concept"])
    if isinstance(value.get("reference"), str):
        yield value["reference"]
    elif isinstance(value.get("reference"), dict):  # the Reference within a CodeableReference
        yield _short(value["reference"])
    if "identifier" in value:
        yield _code(value["identifier"])
    yield from _measures(value)
    if "family" in value or "given" in value:
        yield " ".join([*value.get("given", ()), *([value["family"]] if "family" in value else [])])
    if "code" in value or "value" in value:
        yield _code(value)
    yield str(value.get("text", value.get("display", "")))


def _measures(value: dict[str, Any]) -> Iterator[str]:
    if "start" in value or "end" in value:  # a Period
        yield f"{value.get('start', '')}..{value.get('end', '')}"
    if "low" in value or "high" in value:  # a Range
        yield f"{_short(value.get('low', {}))}..{_short(value.get('high', {}))}"
    if "unit" in value or "comparator" in value:  # a Quantity
        unit = value.get("code", value.get("unit", ""))
        yield f"{value.get('comparator', '')}{value['value']} {unit}".strip()


def _code(value: dict[str, Any]) -> str:
    """A Coding, Identifier or ContactPoint as a token: `system|code`."""
    code = value.get("code", value.get("value"))
    if code is None:
        return str(value.get("display", ""))
    return f"{value['system']}|{code}" if "system" in value else str(code)
