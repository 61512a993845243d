"""Checks the structure of a resource along the elements of its release: which exist, how often, of what type.

It also checks the rules that every element of FHIR obeys: nothing is empty (ele-1), an extension has a value
or extensions (ext-1), a contained resource has an id and contains none (dom-2), null stands only in an array
of primitives, where the extensions of that value are beside it. `validation.py` is the only caller.
"""

from collections.abc import Collection, Iterator

from broker.errors import Issue
from broker.fhir.element_tables import (
    NESTED,
    Element,
    ElementTable,
    table_of_resource,
    table_of_type,
)
from broker.fhir.primitives import find_problem
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release
from broker.model.resource import JsonObject

_CONTAINED = "contained"
_RESOURCES = Element(_CONTAINED, NESTED, is_list=True, is_required=False, choice="")


def find_structure_issues(release: Release, resource_type: str, fields: JsonObject) -> Iterator[Issue]:
    """One issue for each thing that is wrong, in the order of the resource.

    A type whose elements are not known gets the checks that need no table.
    """
    return _resource_issues(release, resource_type, fields, resource_type)


def _resource_issues(release: Release, resource_type: str, fields: JsonObject, path: str) -> Iterator[Issue]:
    table = table_of_resource(release, resource_type)
    if table is None:
        return _untyped_issues(release, fields, path)
    return _object_issues(release, table, fields, path)


def _object_issues(
    release: Release, table: ElementTable, fields: JsonObject, path: str, *, has_value: bool = False
) -> Iterator[Issue]:
    """`has_value`: the object holds the extensions of a primitive that has a value."""
    choices: dict[str, str] = {}
    for name, value in fields.items():
        bare, child = name.removeprefix("_"), f"{path}.{name}"
        element = table.elements.get(bare)
        if element is None or (bare != name and not element.is_primitive):
            if not (name == "resourceType" and table.is_resource):
                yield Issue("structure", f"{child} is not an element of this type", child)
            continue
        if element.choice and choices.setdefault(element.choice, bare) != bare:
            yield Issue("invalid", f"{path} may have only one of {choices[element.choice]} and {bare}", path)
        if bare != name:
            yield from _sibling_issues(release, element, fields.get(bare), value, child)
        elif element.is_list:
            yield from _array_issues(release, element, value, fields.get(f"_{name}"), child)
        else:
            yield from _value_issues(release, element, value, child)
    yield from _missing_issues(table, fields, path, choices.keys())
    if table.type == "Extension" and ("extension" in fields) == ("value" in choices):
        yield Issue("invalid", f"{path} needs either a value or extensions (ext-1)", path)
    elif not (table.is_resource or has_value) and set(fields) == {"id"}:
        yield _structure("needs content besides its id: add it, or leave the element out", path)


def _missing_issues(
    table: ElementTable, fields: JsonObject, path: str, choices: Collection[str]
) -> Iterator[Issue]:
    missing = [name for name in table.required if name not in fields and f"_{name}" not in fields]
    for name in missing + sorted(table.required_choices.difference(choices)):
        yield Issue("required", f"{path}.{name} is required", f"{path}.{name}")


def _array_issues(
    release: Release, element: Element, values: object, siblings: object, path: str
) -> Iterator[Issue]:
    if not isinstance(values, tuple):
        yield _structure("must be an array", path)
    elif not values:
        yield _structure("may not be empty: leave it out", path)
    else:
        for n, value in enumerate(values):
            if value is not None or not element.is_primitive:
                yield from _value_issues(release, element, value, f"{path}[{n}]")
            elif not isinstance(_item(siblings, n), JsonObject):
                text = "is null, which is allowed only where the array beside it has the extensions"
                yield _structure(text, f"{path}[{n}]")
        if path.endswith(f".{_CONTAINED}"):
            yield from _contained_issues(values, path)


def _value_issues(release: Release, element: Element, value: object, path: str) -> Iterator[Issue]:
    if value is None:
        yield _structure("is null, which is not a value: leave the element out", path)
    elif element.is_primitive:
        if isinstance(value, JsonObject | tuple):
            yield _structure(f"must be a single {element.type_name}", path)
        else:
            problem = find_problem(element.type_name, value, release)
            if problem is not None:
                yield Issue("value", f"{path} {problem}", path)
    elif not isinstance(value, JsonObject):
        yield _structure("must be an object" + (", not an array" if isinstance(value, tuple) else ""), path)
    elif not value:
        yield _structure("may not be empty: leave it out", path)
    elif element.type_name == NESTED:
        yield from _nested_issues(release, value, path)
    else:
        yield from _object_issues(release, table_of_type(release, element.type_name), value, path)


def _sibling_issues(
    release: Release, element: Element, values: object, siblings: object, path: str
) -> Iterator[Issue]:
    """The ids and extensions of primitives, in the member whose name starts with an underscore."""
    if not element.is_list:
        yield from _extended_issues(release, siblings, path, has_value=values is not None)
    elif not isinstance(siblings, tuple) or not siblings:
        yield _structure("must be an array that is not empty", path)
    else:
        known = len(values) if isinstance(values, tuple) else 0
        for n, sibling in enumerate(siblings):
            # null beside a value is right; null beside null is an issue of the values
            if sibling is not None or n >= known:
                has_value = _item(values, n) is not None
                yield from _extended_issues(release, sibling, f"{path}[{n}]", has_value=has_value)


def _extended_issues(release: Release, sibling: object, path: str, *, has_value: bool) -> Iterator[Issue]:
    if not isinstance(sibling, JsonObject) or not sibling:
        yield _structure("must be an object with the id or the extensions of a value", path)
    else:
        table = table_of_type(release, "Element")
        yield from _object_issues(release, table, sibling, path, has_value=has_value)


def _nested_issues(release: Release, fields: JsonObject, path: str) -> Iterator[Issue]:
    """A contained resource, or one in a Bundle or Parameters."""
    resource_type = fields.get("resourceType")
    if resource_type is None:
        yield Issue("required", "a contained resource needs its resourceType", f"{path}.resourceType")
    elif not isinstance(resource_type, str) or resource_type not in RESOURCE_TYPES[release]:
        message = f"{resource_type!r} is not a resource type of {release}"
        yield Issue("structure", message, f"{path}.resourceType")
    else:
        yield from _resource_issues(release, resource_type, fields, path)


def _contained_issues(resources: tuple[object, ...], path: str) -> Iterator[Issue]:
    """A contained resource is referred to by its id, and can't contain resources itself (dom-2)."""
    ids: set[object] = set()
    for n, resource in enumerate(resources):
        if not isinstance(resource, JsonObject) or "resourceType" not in resource:
            continue
        resource_id = resource.get("id")
        if resource_id is None:
            text = "a contained resource needs an id, by which the others refer to it"
            yield Issue("required", text, f"{path}[{n}].id")
        elif isinstance(resource_id, str) and resource_id in ids:
            yield Issue(
                "duplicate", f"{resource_id!r} is the id of two contained resources", f"{path}[{n}].id"
            )
        elif isinstance(resource_id, str):
            ids.add(resource_id)
        if _CONTAINED in resource:
            text = "is in a contained resource, which may not contain resources itself (dom-2)"
            yield _structure(text, f"{path}[{n}].{_CONTAINED}")


def _untyped_issues(release: Release, value: object, path: str) -> Iterator[Issue]:
    """The checks of a type whose elements are not known: nothing is empty, texts have no control characters,
    contained resources are right.
    """
    if isinstance(value, str):
        problem = find_problem("markdown", value, release)
        if problem is not None:
            yield Issue("value", f"{path} {problem}", path)
    elif isinstance(value, JsonObject | tuple) and not value:
        yield _structure("may not be empty: leave it out", path)
    elif isinstance(value, tuple) and path.endswith(f".{_CONTAINED}"):
        yield from _array_issues(release, _RESOURCES, value, None, path)
    elif isinstance(value, tuple):
        for n, item in enumerate(value):
            yield from _untyped_issues(release, item, f"{path}[{n}]")
    elif isinstance(value, JsonObject):
        for name, child in value.items():
            if child is None:
                yield _structure("is null, which is not a value: leave the element out", f"{path}.{name}")
            else:
                yield from _untyped_issues(release, child, f"{path}.{name}")


def _item(values: object, n: int) -> object:
    return values[n] if isinstance(values, tuple) and n < len(values) else None


def _structure(problem: str, path: str) -> Issue:
    return Issue("structure", f"{path} {problem}", path)
