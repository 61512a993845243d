"""FHIRPath Patch: a Parameters resource with the operations add, insert, delete, replace and move.

All operations are carried out or none, on JSON whose numbers keep their spelling. `parse_fhirpath_patch`
raises `Malformed` for what is not such a patch; `FhirPathPatch.apply` raises `Unprocessable` that names the
operation which cannot be carried out. What the result means is for the caller to check.
`ingest/patches.py` calls both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.element_tables import Element
from broker.fhir.patch_paths import Evaluate, NotApplicable, PathFinder, Place, indexes_of, parse_path
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.whole_number import whole_number

MAX_OPERATIONS = 100
_PARTS: Mapping[str, frozenset[str]] = {
    "add": frozenset({"path", "name", "value"}),
    "insert": frozenset({"path", "index", "value"}),
    "delete": frozenset({"path"}),
    "replace": frozenset({"path", "value"}),
    "move": frozenset({"path", "source", "destination"}),
}
"""The parts that each type of operation needs."""
_NUMBERS = frozenset({"index", "source", "destination"})


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of `type` (`String` of `valueString`, `Resource`) with the id and extensions of a primitive; or
    the `parts` of an element whose type has no name.
    """

    type: str = ""
    value: Any = None
    companion: Any = None
    parts: tuple[tuple[str, "_Value"], ...] = ()


@dataclass(frozen=True, slots=True)
class _Operation:
    type: str
    path: str
    name: str
    value: _Value
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FhirPathPatch:
    """A checked patch; `text` is the Parameters resource."""

    text: bytes
    operations: tuple[_Operation, ...]

    def apply(self, text: bytes, release: Release, evaluate: Evaluate) -> bytes:
        """The patched text of a resource of the release. Raises `Unprocessable`."""
        resource = json_text.decode_exact(text)
        number = 0
        try:
            finder = PathFinder(resource, release, evaluate)
            for number, operation in enumerate(self.operations):  # noqa: B007 the error names it
                _apply(finder, operation)
            return json_text.encode(resource)
        except NotApplicable as error:
            failed = self.operations[number]
            reason = f"{failed.type} {failed.path[:80]!r} can't be applied: {error}"
            raise Unprocessable(Issue("processing", reason, _element(number))) from None


def parse_fhirpath_patch(parameters: Resource) -> FhirPathPatch:
    """Raises `Malformed`, or `Unprocessable` for too many operations."""
    parameters.fields  # noqa: B018 raises for a text that is not a JSON object
    listed = json_text.decode_exact(parameters.text).get("parameter", [])
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        _refuse(
            "A FHIRPath Patch has a parameter named operation for each operation.", "Parameters.parameter"
        )
    if len(listed) > MAX_OPERATIONS:
        text = f"The patch has more than {MAX_OPERATIONS} operations. Send it in parts."
        raise Unprocessable(Issue("too-costly", text, "Parameters.parameter"))
    return FhirPathPatch(
        parameters.text, tuple(_operation(each, _element(n)) for n, each in enumerate(listed))
    )


def _element(n: int) -> str:
    return f"Parameters.parameter[{n}]"


def _refuse(text: str, element: str) -> NoReturn:
    raise Malformed(Issue("structure", text, element))


def _operation(parameter: Mapping[str, Any], element: str) -> _Operation:
    if parameter.get("name") != "operation":
        _refuse(f"The name is {str(parameter.get('name'))[:40]!r}. Send operation.", f"{element}.name")
    parts: dict[str, _Value] = {}
    for name, part, place in _parts(parameter, element):
        if name in parts:
            _refuse(f"The part {name[:40]!r} is repeated. Send it once.", place)
        parts[name] = _value(part, place)
    operation_type = _string(parts.pop("type", _Value()), f"{element}.part('type')")
    if operation_type not in _PARTS:
        text = f"The type is {operation_type[:40]!r}. Use one of {', '.join(_PARTS)}."
        _refuse(text, f"{element}.part('type')")
    if parts.keys() != _PARTS[operation_type]:
        text = f"{operation_type} takes the parts type, {', '.join(sorted(_PARTS[operation_type]))}."
        _refuse(text, element)
    return _Operation(
        operation_type,
        _string(parts["path"], f"{element}.part('path')"),
        _string(parts["name"], f"{element}.part('name')") if "name" in parts else "",
        parts.get("value", _Value()),
        {name: _number(parts[name], f"{element}.part('{name}')") for name in _NUMBERS & parts.keys()},
    )


def _parts(parent: Mapping[str, Any], element: str) -> list[tuple[str, Mapping[str, Any], str]]:
    """The parts with their names and elements."""
    parts = parent.get("part", [])
    if not isinstance(parts, list):
        _refuse("part is not an array. Send an array.", f"{element}.part")
    named = []
    for n, part in enumerate(parts):
        place = f"{element}.part[{n}]"
        name = part.get("name") if isinstance(part, dict) else None
        if not isinstance(name, str):
            _refuse("Each part is an object with a name.", place)
        named.append((name, part, place))
    return named


def _value(part: Mapping[str, Any], element: str) -> _Value:
    members = {name: value for name, value in part.items() if name not in {"name", "id", "extension"}}
    if "part" in members:
        inner = tuple((name, _value(each, place)) for name, each, place in _parts(part, element))
        if len(members) > 1 or not inner:
            _refuse("Send either a value or parts.", element)
        return _Value(parts=inner)
    if "resource" in members:
        if len(members) > 1 or not isinstance(members["resource"], dict):
            _refuse("resource takes one resource, and no value besides.", element)
        return _Value("Resource", members["resource"])
    types = {name.removeprefix("_") for name in members}
    name = types.pop() if len(types) == 1 else ""
    value, companion = members.get(name), members.get(f"_{name}")
    is_primitive = isinstance(value, str | bool | msgspec.Raw) or (
        value is None and isinstance(companion, dict)
    )
    if len(name) < 6 or not name.startswith("value") or not (is_primitive or isinstance(value, dict)):
        _refuse("A part has one value[x], a resource or parts.", element)
    return _Value(name.removeprefix("value"), value, companion)


def _string(value: _Value, element: str) -> str:
    if not isinstance(value.value, str):
        _refuse("Send a text.", element)
    return value.value


def _number(value: _Value, element: str) -> int:
    number = whole_number(bytes(value.value).decode()) if isinstance(value.value, msgspec.Raw) else None
    if number is None:
        _refuse("Send a whole number from 0 on.", element)
    return number


def _apply(finder: PathFinder, operation: _Operation) -> None:
    steps = parse_path(operation.path)
    match operation.type:
        case "add":
            _add(finder, finder.one(steps), operation.name, operation.value)
        case "delete":
            places = finder.find(steps)
            if len(places) > 1:
                raise NotApplicable(f"the path names {len(places)} elements. Name one.")
            if places:
                _remove(finder, places[0])
        case "replace":
            _replace(finder, finder.one(steps), operation.value)
        case _:
            if not steps or steps[-1].function:
                raise NotApplicable("the path does not name a list. End it with the name of an element.")
            owner = finder.one(steps[:-1])
            definition = _definition(finder.definitions(owner), steps[-1].name, "")
            if not definition.is_list:
                raise NotApplicable(f"{definition.name} is not a list. Use add or replace.")
            _change_list(finder, _members(owner), definition, operation)


def _add(finder: PathFinder, place: Place, name: str, value: _Value) -> None:
    definition = _definition(finder.definitions(place), name, value.type)
    _put(finder, _members(place), definition, value)


def _members(place: Place) -> dict[str, Any]:
    """The object that has the children of an element; that of a primitive is made if it is missing."""
    if place.object is not None:
        return place.object
    companion: dict[str, Any] = {}
    if place.index is None:
        place.owner[f"_{place.name}"] = companion
    else:
        companions = _list(place.owner, f"_{place.name}", place.index + 1)
        companions[place.index] = companion
    return companion


def _definition(definitions: Mapping[str, Element], name: str, type_name: str) -> Element:
    """The element of that name, or the type of that choice."""
    definition = definitions.get(name)
    if definition is not None and not definition.choice:
        return definition
    for candidate in definitions.values():
        if candidate.choice == name and candidate.name == f"{name}{type_name}":
            return candidate
    raise NotApplicable(f"there is no element {name[:40]!r}{f' of type {type_name}' if type_name else ''}.")


def _put(finder: PathFinder, owner: dict[str, Any], definition: Element, value: _Value) -> None:
    """Sets an element that is not there yet, or appends to its list."""
    if definition.is_list:
        _insert(finder, owner, definition, len(indexes_of(owner, definition.name)), value)
        return
    choices = [name for name in owner if name.removeprefix("_") == definition.name]
    if definition.choice:
        choices += [
            name
            for name in owner
            if name.removeprefix("_").startswith(definition.choice)
            and name.removeprefix("_")[len(definition.choice) :][:1].isupper()
        ]
    if choices:
        raise NotApplicable(f"{choices[0]} is there already. Use replace.")
    _set(finder, owner, definition, value)


def _set(finder: PathFinder, owner: dict[str, Any], definition: Element, value: _Value) -> None:
    built, name = _build(finder, value, definition), definition.name
    for key, item in ((name, built), (f"_{name}", value.companion)):
        owner.pop(key, None)
        if item is not None:
            owner[key] = item


def _build(finder: PathFinder, value: _Value, definition: Element) -> Any:
    """The JSON of a value; parts become the elements of the definition's type."""
    if not value.parts:
        return value.value
    elements = finder.elements_of(definition)
    if not elements:
        raise NotApplicable(f"{definition.name} has no parts. Send a value.")
    built: dict[str, Any] = {}
    for name, part in value.parts:
        _put(finder, built, _definition(elements, name, part.type), part)
    return built


def _insert(
    finder: PathFinder, owner: dict[str, Any], definition: Element, index: int, value: _Value
) -> None:
    name = definition.name
    count = len(indexes_of(owner, name))
    if index > count:
        raise NotApplicable(f"the list has {count} elements, so nothing can be inserted at {index}.")
    built = _build(finder, value, definition)
    _list(owner, name, count).insert(index, built)
    if f"_{name}" in owner or value.companion is not None:
        _list(owner, f"_{name}", count).insert(index, value.companion)


def _list(owner: dict[str, Any], key: str, length: int) -> list[Any]:
    """The list of that key, made if it is missing, with null for each primitive that has nothing there."""
    values = owner.setdefault(key, [])
    if not isinstance(values, list):
        raise NotApplicable(f"{key} is not a list. Correct the operation that has set it.")
    values.extend([None] * (length - len(values)))
    return values


def _replace(finder: PathFinder, place: Place, value: _Value) -> None:
    if place is finder.root:
        raise NotApplicable("the resource itself can't be replaced. Send PUT.")
    definition = place.definition
    if place.index is not None:
        _remove(finder, place)
        _insert(finder, place.owner, definition, place.index, value)
        return
    if definition.choice:
        target = _definition(place.siblings, definition.choice, value.type)
        place.owner.pop(place.name, None)
        place.owner.pop(f"_{place.name}", None)
        _set(finder, place.owner, target, value)
        return
    _set(finder, place.owner, definition, value)


def _remove(finder: PathFinder, place: Place) -> None:
    if place is finder.root:
        raise NotApplicable("the resource itself can't be deleted. Send DELETE.")
    for key in (place.name, f"_{place.name}"):
        if place.index is None:
            place.owner.pop(key, None)
            continue
        values = place.owner.get(key)
        if isinstance(values, list) and place.index < len(values):
            del values[place.index]
            if all(each is None for each in values):
                del place.owner[key]


def _change_list(
    finder: PathFinder, owner: dict[str, Any], definition: Element, operation: _Operation
) -> None:
    """Insert and move."""
    count, numbers = len(indexes_of(owner, definition.name)), operation.numbers
    if operation.type == "insert":
        _insert(finder, owner, definition, numbers["index"], operation.value)
        return
    for name in ("source", "destination"):
        if numbers[name] >= count:
            raise NotApplicable(f"the list has {count} elements, and no {name} {numbers[name]}.")
    for key in (definition.name, f"_{definition.name}"):
        if key in owner:
            values = _list(owner, key, count)
            values.insert(numbers["destination"], values.pop(numbers["source"]))
