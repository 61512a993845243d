"""The values that a filter reads from a resource, as short texts for people: `91 mm[Hg]`, `Patient/1`.

`explain` shows them with the verdicts; they decide nothing. A value that can't be read is left out: the
verdict of the filter says what that means.
"""

import json
from collections.abc import Iterator
from typing import Any

from broker.matching.chains import ChainEnd, ChainResolver
from broker.matching.change_states import RelatedStates
from broker.matching.extract import compile_extractor
from broker.matching.problems import READ_ERRORS
from broker.matching.states import State
from broker.model.release import Release
from broker.model.search import Filter, SearchParameter

MAX_VALUES = 20
MAX_CHARS = 120


def text_of(filter_: Filter) -> str:
    """The filter as a search term: `code:not=8867-4`, `value-quantity=gt90`."""
    modifier = f":{filter_.modifier}" if filter_.modifier is not None else ""
    return f"{filter_.parameter}{modifier}={filter_.comparator or ''}{filter_.value}"


def found_values(parameter: SearchParameter, release: Release, state: State) -> tuple[str, ...]:
    """The values that the parameter selects, the first `MAX_VALUES` of them, without empty ones."""
    if state is None:
        return ()
    try:
        nodes = compile_extractor(parameter.expression, release)(state)
        texts = [_value_text(parameter, release, node.value) for node in nodes]
    except READ_ERRORS:
        return ()
    return tuple(dict.fromkeys(text for text in texts if text.strip()))[:MAX_VALUES]


def found_through_chain(
    resolver: ChainResolver, ends: tuple[ChainEnd, ...], state: State, related: RelatedStates
) -> tuple[str, ...]:
    """The targets of a chain, each with the values that its parameter selects there: `Patient/1: female`."""
    parameters = {(end.release, end.resource_type): end.parameter for end in ends}
    texts = []
    for target in sorted(resolver.targets(state) if state is not None else ()):
        name, stored = "/".join(target), related.find(target)
        if stored is None:
            texts.append(f"{name}: not stored")
            continue
        target_state, release = stored
        parameter = parameters.get((release, target[0]))
        values = () if parameter is None else found_values(parameter, release, target_state)
        texts.append(f"{name}: {', '.join(values) or 'nothing'}")
    return tuple(texts[:MAX_VALUES])


def _value_text(parameter: SearchParameter, release: Release, value: Any) -> str:
    """For a composite, its components within one element; "" if the element has none of them."""
    if not parameter.components:
        return short(value)
    parts = [
        ", ".join(short(node.value) for node in compile_extractor(component.expression, release)(value))
        for component in parameter.components
    ]
    return " $ ".join(part or "nothing" for part in parts) if any(parts) else ""


def short(value: Any) -> str:
    """One value in at most `MAX_CHARS` characters. Never fails."""
    try:
        text = _short(value)
    except READ_ERRORS:
        text = ""
    text = text or json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict):
        return str(value)
    return next((text for text in _candidates(value) if text), "")


def _candidates(value: dict[str, Any]) -> Iterator[str]:
    """Texts for each datatype that the element may have; the caller takes the first that is not empty."""
    if "coding" in value:  # a CodeableConcept
        yield ", ".join(_token(coding) for coding in value["coding"])
    if "concept" in value:  # a CodeableReference
        yield _short(value["concept"])
    if isinstance(value.get("reference"), str):
        yield value["reference"]
    elif isinstance(value.get("reference"), dict):  # the Reference within a CodeableReference
        yield _short(value["reference"])
    if "identifier" in value:
        yield _token(value["identifier"])
    yield from _measures(value)
    if "family" in value or "given" in value:
        yield " ".join([*value.get("given", ()), *([value["family"]] if "family" in value else [])])
    if "code" in value or "value" in value:
        yield _token(value)
    yield str(value.get("text", value.get("display", "")))


def _measures(value: dict[str, Any]) -> Iterator[str]:
    if "start" in value or "end" in value:  # a Period
        yield f"{value.get('start', '')}..{value.get('end', '')}"
    if "low" in value or "high" in value:  # a Range
        yield f"{_short(value.get('low', {}))}..{_short(value.get('high', {}))}"
    if "unit" in value or "comparator" in value:  # a Quantity
        unit = value.get("code", value.get("unit", ""))
        yield f"{value.get('comparator', '')}{value['value']} {unit}".strip()


def _token(value: dict[str, Any]) -> str:
    """A Coding, Identifier or ContactPoint as `system|code`."""
    code = value.get("code", value.get("value"))
    if code is None:
        return str(value.get("display", ""))
    return f"{value['system']}|{code}" if "system" in value else str(code)
