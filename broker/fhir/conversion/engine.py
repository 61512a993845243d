"""Converts one resource: extensions to the common form, the rules bottom-up, extensions to the target's form.

What it guarantees, for each rule: if the translation, translated back, does not give the source elements, the
translation also contains them whole, in cross-version extensions. On the way back, extensions are replaced by
the elements they hold only if converting those would give exactly the elements and extensions that are there.
So converting there and back gives the same resource, in whichever direction it starts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from broker.fhir.conversion.cross_version_extensions import read_elements, write_elements
from broker.fhir.conversion.datatypes import (
    ALTERNATE_REFERENCE,
    disallowed_targets,
    restore_value_type,
    spell_out_value_type,
    unwrap_reference,
    wrap_reference,
)
from broker.fhir.conversion.rule_tables import RESOURCE, element_path, rules_at
from broker.fhir.conversion.type_rules import (
    CodeRule,
    Direction,
    ElementDefinition,
    ElementRule,
    JsonElement,
    NotConvertible,
    Translation,
    TypeRules,
)
from broker.model.release import Release

_URL_PREFIX = {
    Release.R4: "http://hl7.org/fhir/4.0/StructureDefinition/extension-",
    Release.R4B: "http://hl7.org/fhir/4.3/StructureDefinition/extension-",
    Release.R5: "http://hl7.org/fhir/5.0/StructureDefinition/extension-",
}


def convert_resource(resource: JsonElement, direction: Direction) -> JsonElement:
    """The resource, without contained ones, in the target release. Raises `NotConvertible`."""
    path: str = resource["resourceType"]
    tree = _to_common_form(resource, path, direction)
    if Release.R5 in {direction.source, direction.target}:
        tree = _apply_rules(tree, path, direction)
    return _to_target_form(tree, path, direction)


def _map_objects(value: Any, function: Callable[[JsonElement], Any]) -> Any:
    """The value of a member with the function applied to its objects, whether it is one object or a list."""
    if isinstance(value, dict):
        return function(value)
    if isinstance(value, list):
        return [function(item) if isinstance(item, dict) else item for item in value]
    return value


def _own_path(element: JsonElement, path: str) -> str:
    """The path, or the type of a resource inside another."""
    resource_type = element.get("resourceType") if path == RESOURCE else path
    return resource_type if isinstance(resource_type, str) else ""


def _to_common_form(element: JsonElement, path: str, direction: Direction) -> JsonElement:
    source = direction.source
    path = _own_path(element, path)
    result: JsonElement = {}
    for name, value in element.items():
        child_path = element_path(path, name, source)
        child = _map_objects(value, partial(_to_common_form, path=child_path, direction=direction))
        types = disallowed_targets(f"{path}.{name}", source)
        result[name] = _map_objects(child, partial(unwrap_reference, types=types))
    return restore_value_type(result, source, direction.target) if path == "Extension" else result


def _to_target_form(element: JsonElement, path: str, direction: Direction) -> JsonElement:
    target = direction.target
    path = _own_path(element, path)
    if path == "Extension":
        element = spell_out_value_type(element, target)
    result: JsonElement = {}
    for name, value in element.items():
        child_path = element_path(path, name, target)
        child = _map_objects(value, partial(_to_target_form, path=child_path, direction=direction))
        if element.get("url") != ALTERNATE_REFERENCE:
            types = disallowed_targets(f"{path}.{name}", target)
            child = _map_objects(child, partial(wrap_reference, types=types))
        result[name] = child
    return result


def _apply_rules(element: JsonElement, path: str, direction: Direction) -> JsonElement:
    result: JsonElement = {}
    for name, value in element.items():
        child_path = element_path(path, name, direction.source)
        result[name] = _map_objects(value, partial(_apply_rules, path=child_path, direction=direction))
    if not path and ("comparator" in element or "_comparator" in element):
        path = "Quantity"
    type_rules = rules_at(path, direction)
    if type_rules is None:
        return result
    for rule in type_rules.rules:
        if isinstance(rule, CodeRule):
            result = _apply_code_rule(result, rule, type_rules, direction)
        else:
            result = _apply_element_rule(result, rule, type_rules, direction)
    if not result:
        raise NotConvertible(f"nothing of {path} can be expressed in {direction.target}")
    return result


def _apply_element_rule(
    element: JsonElement, rule: ElementRule, type_rules: TypeRules, direction: Direction
) -> JsonElement:
    to_target, to_source = (rule.to_r5, rule.to_r4) if direction.to_r5 else (rule.to_r4, rule.to_r5)
    source_definitions, target_definitions = (rule.r4, rule.r5) if direction.to_r5 else (rule.r5, rule.r4)
    source_elements = {name: element[name] for name in _member_names(source_definitions) if name in element}
    extensions: list[JsonElement] = element.get("extension", [])
    has_alternative = any(
        name.startswith(rule.alternatives) for name in element.keys() - source_elements.keys()
    )
    for prefix in () if has_alternative else _url_prefixes(type_rules, direction.target, direction):
        matching = [
            extension
            for definition in target_definitions
            for extension in extensions
            if extension.get("url") == prefix + definition.name
        ]
        restored = read_elements(prefix, target_definitions, matching) if matching else None
        if restored is None:
            continue
        if _translate(restored, to_source, to_target, prefix, target_definitions) == (
            source_elements,
            matching,
        ):
            remaining = [extension for extension in extensions if extension not in matching]
            return _with_extensions(_with_members(element, source_elements, restored), remaining)
    (prefix, *_) = _url_prefixes(type_rules, direction.source, direction)
    translated, added = _translate(source_elements, to_target, to_source, prefix, source_definitions)
    if any(extension.get("url") == new["url"] for extension in extensions for new in added):
        raise NotConvertible(f"{added[0]['url']} is there already")
    if not added:
        if translated == source_elements:
            return element
        return _with_members(element, source_elements, translated)
    return _with_extensions(_with_members(element, source_elements, translated), extensions + added)


def _translate(
    source_elements: JsonElement,
    forward: Translation,
    backward: Translation,
    prefix: str,
    definitions: tuple[ElementDefinition, ...],
) -> tuple[JsonElement, list[JsonElement]]:
    """The translated elements, and extensions for the source elements if the translation loses something."""
    translated = forward(source_elements)
    if backward(translated) == source_elements:
        return translated, []
    return translated, write_elements(prefix, definitions, source_elements)


def _apply_code_rule(
    element: JsonElement, rule: CodeRule, type_rules: TypeRules, direction: Direction
) -> JsonElement:
    to_target, to_source = (rule.to_r5, rule.to_r4) if direction.to_r5 else (rule.to_r4, rule.to_r5)
    code = element.get(rule.name)
    sibling: JsonElement = element.get(f"_{rule.name}", {})
    extensions: list[JsonElement] = sibling.get("extension", [])
    for prefix in _url_prefixes(type_rules, direction.target, direction):
        matching = [extension for extension in extensions if extension.get("url") == prefix + rule.name]
        kept = matching[0].get("valueCode") if len(matching) == 1 and len(matching[0]) == 2 else None
        if isinstance(kept, str) and to_source(kept) == code and (code is None or to_target(code) != kept):
            remaining = [extension for extension in extensions if extension not in matching]
            return _with_code(element, rule.name, kept, _with_extensions(sibling, remaining))
    if not isinstance(code, str):
        return element
    translated = to_target(code)
    if translated is not None and to_source(translated) == code:
        return _with_code(element, rule.name, translated, sibling) if translated != code else element
    (prefix, *_) = _url_prefixes(type_rules, direction.source, direction)
    added = {"url": prefix + rule.name, "valueCode": code}
    if any(extension.get("url") == added["url"] for extension in extensions):
        raise NotConvertible(f"{added['url']} is there already")
    return _with_code(element, rule.name, translated, _with_extensions(sibling, [*extensions, added]))


def _url_prefixes(type_rules: TypeRules, release: Release, direction: Direction) -> tuple[str, ...]:
    """The prefixes of extension urls for elements of the release; R4B also reads R4's extensions, and R4
    R4B's.
    """
    if release is Release.R5:
        return (f"{_URL_PREFIX[release]}{type_rules.r5}.",)
    other = Release.R4B if release is Release.R4 else Release.R4
    releases = (release,) if release is direction.source else (release, other)
    return tuple(f"{_URL_PREFIX[each]}{type_rules.r4}." for each in releases)


def _member_names(definitions: tuple[ElementDefinition, ...]) -> list[str]:
    members = [name for definition in definitions for name, _ in definition.members()]
    return [name for member in members for name in (member, f"_{member}")]


def _with_members(element: JsonElement, replaced: JsonElement, wanted: JsonElement) -> JsonElement:
    """The element with the wanted members in the places of the replaced ones as far as possible, else at its
    end.
    """
    moved = {name: value for name, value in wanted.items() if name not in element}
    result: JsonElement = {}
    for name, value in element.items():
        if name not in replaced:
            result[name] = value
        elif name in wanted:
            result[name] = wanted[name]
        else:
            result |= moved
    return result | wanted


def _with_extensions(element: JsonElement, extensions: list[JsonElement]) -> JsonElement:
    if extensions:
        return {**element, "extension": extensions}
    return {name: value for name, value in element.items() if name != "extension"}


def _with_code(element: JsonElement, name: str, code: str | None, sibling: JsonElement) -> JsonElement:
    wanted: JsonElement = {} if code is None else {name: code}
    if sibling:
        wanted[f"_{name}"] = sibling
    return _with_members(element, {name: None, f"_{name}": None}, wanted)
