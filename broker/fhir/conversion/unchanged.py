"""Finds resources that need no conversion with one regular-expression search over their text.

The names to search for come from the rules, so a new rule needs no change here. The search may find something
in a resource that does not change, never the other way round: a text with an escaped name counts as changed.
"""

import re
from collections.abc import Iterator
from functools import cache

from broker.fhir.conversion import complex_types
from broker.fhir.conversion.datatypes import DISALLOWED_TARGETS, MISSING_VALUE_TYPES, missing_resource_types
from broker.fhir.conversion.r4_and_r4b import CONTAINERS, MISSING_MEMBERS
from broker.fhir.conversion.rule_tables import TYPE_RULES
from broker.fhir.conversion.type_rules import CodeRule, Direction, TypeRules, capitalized
from broker.model.release import Release

_EXTENSIONS = rb"StructureDefinition\\?/(?:extension-|_datatype|alternate-reference)"
_MEMBERS_OF_TYPE = {
    "Attachment": ("photo", "presentedForm", "document", "valueAttachment"),
    "Quantity": ("comparator",),
}
"""The members by which a data type is found where that is not `value` and its name."""


def is_unchanged(text: bytes, resource_type: str, direction: Direction) -> bool:
    """Whether the text is certainly its own conversion."""
    pattern = _pattern(resource_type, direction)
    return pattern is not None and b"\\u" not in text and pattern.search(text) is None


@cache
def _pattern(resource_type: str, direction: Direction) -> re.Pattern[bytes] | None:
    """What a resource that changes contains; None where any resource of the type may change."""
    if resource_type in CONTAINERS:
        return None
    crosses = Release.R5 in {direction.source, direction.target}
    concerned = [rules for rules in TYPE_RULES if _concerns(rules, resource_type)] if crosses else []
    if any(_adds_elements(rules, direction) for rules in concerned if rules.r4 == resource_type):
        return None
    names = {name for rules in concerned for name in _names(rules, resource_type, direction)}
    value_types = {type_name for release in Release for type_name in MISSING_VALUE_TYPES[release]}
    names |= MISSING_MEMBERS.get(direction.target, {}).get(resource_type, frozenset())
    names |= {"contained"} | {f"value{capitalized(type_name)}" for type_name in value_types}
    target_types = set(missing_resource_types(direction.target)) | {
        type_name
        for path, type_names in DISALLOWED_TARGETS[direction.target].items()
        if path.startswith((f"{resource_type}.", "Annotation."))
        for type_name in type_names
    }
    # all alternatives share their first character: three times as fast as separate ones
    alternatives = [
        rb"_?(?:" + _any_of(names) + rb')"',
        rb"(?:" + _any_of(target_types) + rb')["/\\]',
        _EXTENSIONS,
    ]
    return re.compile(rb'["/](?:' + b"|".join(alternatives) + rb")")


def _concerns(rules: TypeRules, resource_type: str) -> bool:
    return rules in complex_types.TYPE_RULES or rules.r4.split(".")[0] == resource_type


def _names(rules: TypeRules, resource_type: str, direction: Direction) -> Iterator[str]:
    """The members that the rules may change."""
    if rules in complex_types.TYPE_RULES:
        if rules.rules:
            yield from _MEMBERS_OF_TYPE.get(rules.r4, (f"value{rules.r4}",))
        return
    path = rules.r4 if direction.to_r5 else rules.r5
    if rules.r4 != resource_type and _adds_elements(rules, direction):
        yield path.rsplit(".", maxsplit=1)[-1]
    for rule in rules.rules:
        if isinstance(rule, CodeRule):
            yield rule.name
        else:
            definitions = rule.r4 if direction.to_r5 else rule.r5
            yield from (name for definition in definitions for name, _ in definition.members())


def _adds_elements(rules: TypeRules, direction: Direction) -> bool:
    """Whether a rule adds an element to an empty one, because the target requires it."""
    translations = [
        rule.to_r5 if direction.to_r5 else rule.to_r4
        for rule in rules.rules
        if not isinstance(rule, CodeRule)
    ]
    return any(translate({}) for translate in translations)


def _any_of(words: set[str]) -> bytes:
    return "|".join(sorted(words)).encode()
