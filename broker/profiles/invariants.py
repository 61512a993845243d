"""Invariants of FHIR's own definitions, written as functions by their key.

Each takes the element and the validation, and is true if the element obeys. They are used for definitions
under FHIR's canonical URL; an invariant of another definition, or one without a function here, is evaluated
as FHIRPath (`expressions.py`). `CHECKED_ELSEWHERE` are those that the structure check covers or that are best
practices: no profile repeats them.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from broker.profiles.found import Found

Invariant = Callable[[Any, Found], bool]

CHECKED_ELSEWHERE = frozenset({"ele-1", "ext-1", "dom-2", "dom-6", "txt-1", "txt-2", "obs-6", "eld-1"})
_DAY = 10
"""The characters of a date that is precise to the day."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def has(element: Mapping[str, Any], name: str) -> bool:
    return name in element or f"_{name}" in element


def has_choice(element: Mapping[str, Any], choice: str) -> bool:
    """Whether a choice of types has a value, or extensions in place of one."""
    end = len(choice)
    for name in element:
        bare = name[1:] if name[0] == "_" else name
        if bare.startswith(choice) and bare[end : end + 1].isupper():
            return True
    return False


def _value_or_reason(element: Mapping[str, Any], _found: Found) -> bool:
    return "dataAbsentReason" in element or has_choice(element, "value")


def _value_reason_or_parts(element: Mapping[str, Any], found: Found) -> bool:
    return "component" in element or "hasMember" in element or _value_or_reason(element, found)


def _precise_to_the_day(value: Any, _found: Found) -> bool:
    """vs-1 by its text: the published expression would refuse every Period."""
    return not isinstance(value, str) or len(value) >= _DAY


def _range_says_something(element: Mapping[str, Any], _found: Found) -> bool:
    return has(element, "low") or has(element, "high") or has(element, "text")


def _codings(concept: Any) -> set[tuple[Any, ...]]:
    codings = concept.get("coding", ()) if isinstance(concept, dict) else ()
    return {
        tuple(each.get(name) for name in ("system", "version", "code", "display", "userSelected"))
        for each in codings
        if isinstance(each, dict)
    }


def _value_is_not_in_a_component_too(element: Mapping[str, Any], _found: Found) -> bool:
    if "component" not in element or not has_choice(element, "value"):
        return True
    own = _codings(element.get("code"))
    return not any(own & _codings(component.get("code")) for component in element["component"])


def _starts_before_it_ends(element: Mapping[str, Any], _found: Found) -> bool:
    start, end = element.get("start"), element.get("end")
    if not isinstance(start, str) or not isinstance(end, str):
        return True
    if _MOMENT.match(start) and _MOMENT.match(end):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(start) <= datetime.fromisoformat(end)  # raises for a leap second
    length = min(len(start), len(end), _DAY)
    return start[:length] <= end[:length]


def _names_no_version(element: Mapping[str, Any], _found: Found) -> bool:
    """As a function, since the expression gives nothing for an entry without fullUrl."""
    return "/_history/" not in str(element.get("fullUrl", ""))


def _code_has_a_system(element: Mapping[str, Any], _found: Found) -> bool:
    return not has(element, "code") or has(element, "system")


def _no_comparator(element: Mapping[str, Any], _found: Found) -> bool:
    return not has(element, "comparator")


def _low_is_not_above_high(element: Mapping[str, Any], _found: Found) -> bool:
    low, high = element.get("low"), element.get("high")
    if not isinstance(low, dict) or not isinstance(high, dict):
        return True
    if any(low.get(name) != high.get(name) for name in ("system", "code")):
        return True
    least, greatest = low.get("value"), high.get("value")
    if not isinstance(least, int | Decimal) or not isinstance(greatest, int | Decimal):
        return True
    return least <= greatest


def _both_or_neither(element: Mapping[str, Any], _found: Found) -> bool:
    is_whole = has(element, "numerator") == has(element, "denominator")
    return is_whole and (has(element, "numerator") or "extension" in element)


def _contained_target_exists(element: Mapping[str, Any], found: Found) -> bool:
    reference = element.get("reference")
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    return reference == "#" or found.contained(reference) is not None


def _data_has_a_type(element: Mapping[str, Any], _found: Found) -> bool:
    return not has(element, "data") or has(element, "contentType")


def _value_has_a_system(element: Mapping[str, Any], _found: Found) -> bool:
    return not has(element, "value") or has(element, "system")


def _contained_without_version(element: Mapping[str, Any], _found: Found) -> bool:
    metas = [each.get("meta") for each in element.get("contained", ()) if isinstance(each, dict)]
    return not any(
        isinstance(meta, dict) and ("versionId" in meta or "lastUpdated" in meta) for meta in metas
    )


def _contained_without_security(element: Mapping[str, Any], _found: Found) -> bool:
    metas = [each.get("meta") for each in element.get("contained", ()) if isinstance(each, dict)]
    return not any(isinstance(meta, dict) and "security" in meta for meta in metas)


def _contained_are_used(element: Mapping[str, Any], _found: Found) -> bool:
    contained = [each for each in element.get("contained", ()) if isinstance(each, dict)]
    if not contained:
        return True
    used = set(_local_references(element))
    for each in contained:
        inner = {text for text in _local_references(each) if text == "#"}
        if f"#{each.get('id')}" not in used and not inner:
            return False
    return True


def _local_references(value: Any) -> list[str]:
    """Every text that starts with `#`, at any depth."""
    texts, pending = [], [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            if each.startswith("#"):
                texts.append(each)
        elif isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
    return texts


INVARIANTS: Mapping[str, tuple[Invariant, str]] = {
    "att-1": (_data_has_a_type, "data needs a contentType"),
    "bdl-8": (_names_no_version, "the fullUrl names no version"),
    "cpt-2": (_value_has_a_system, "a value needs a system"),
    "dom-3": (_contained_are_used, "a contained resource is not referred to"),
    "dom-4": (_contained_without_version, "a contained resource has no versionId and no lastUpdated"),
    "dom-5": (_contained_without_security, "a contained resource has no security label"),
    "obs-3": (_range_says_something, "a reference range needs low, high or text"),
    "obs-7": (
        _value_is_not_in_a_component_too,
        "there is no value if a component has the code of the Observation",
    ),
    "per-1": (_starts_before_it_ends, "the start is not after the end"),
    "qty-3": (_code_has_a_system, "a code needs a system"),
    "rat-1": (_both_or_neither, "numerator and denominator are both there, or neither is"),
    "ref-1": (_contained_target_exists, "the reference names no contained resource"),
    "rng-2": (_low_is_not_above_high, "low is not above high"),
    "sqty-1": (_no_comparator, "there is no comparator here"),
    "us-core-26": (_value_or_reason, "a value or a dataAbsentReason is needed"),
    "vs-1": (_precise_to_the_day, "the time is precise to the day at least"),
    "vs-2": (
        _value_reason_or_parts,
        "without component and hasMember, a value or a dataAbsentReason is needed",
    ),
    "vs-3": (_value_or_reason, "a value or a dataAbsentReason is needed"),
}
"""The function of each key, and what the rule says."""
