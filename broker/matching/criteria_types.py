"""Finds FHIRPath criteria that name elements which do not exist, or whose result is never a boolean.

A topic with such criteria would be active and never fire (R-042). `fhirpath.py` asks about each expression
that a topic brings; what this analysis can't decide is decided at each evaluation.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from broker.fhir.element_tables import NESTED, Element, table_of_resource, table_of_type
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release

_Node = Mapping[str, Any]
"""A node of the parsed expression: `type`, `text` and `children`."""

_NEVER_BOOLEAN = frozenset(
    {
        *("count", "length", "indexOf", "substring", "upper", "lower", "trim", "replace", "replaceMatches"),
        *("toInteger", "toDecimal", "toString", "toDate", "toDateTime", "toTime", "toChars", "split", "join"),
        *("encode", "decode", "abs", "ceiling", "exp", "floor", "ln", "log", "power", "round", "sqrt"),
        *("truncate", "now", "today", "timeOfDay", "sum", "avg", "type", "extension", "resolve"),
    }
)
_SELECTING = frozenset({"where", "first", "last", "single", "tail", "skip", "take", "distinct"})
"""Functions whose result has the types of their input."""
_WRAPPERS = frozenset(
    {"TermExpression", "LiteralTerm", "ParenthesizedTerm", "InvocationTerm", "ExternalConstantTerm"}
)
_ITERATING = frozenset({"where", "select", "exists", "all"})
"""Functions whose argument is evaluated on each item of their input."""
_STATES = frozenset({"current", "previous", "resource", "rootResource", "context"})


class _Type(NamedTuple):
    """A type that a path may have in a release, and the element that has it; None for the resource."""

    release: Release
    name: str
    element: Element | None


class _Scope(NamedTuple):
    """The types of the resource, and of the item on which an expression is evaluated; none: unknown."""

    resource: frozenset[_Type]
    item: frozenset[_Type]


def why_not_boolean(expression: _Node, resource_type: str) -> str | None:
    """What the result of an expression is, if it is never a boolean; else None.

    `resource_type` is that of the trigger. Paths of an unknown type are not analysed.
    """
    return _why_not_boolean(expression, _scope_of(resource_type))


def find_unknown_element(expression: _Node, resource_type: str) -> str | None:
    """The first element that an expression names and that no release has, with its owner; None if there is
    none.
    """
    return next(_unknown_elements(expression, _scope_of(resource_type)), None)


def _scope_of(resource_type: str) -> _Scope:
    releases = [release for release in Release if resource_type in RESOURCE_TYPES[release]]
    if any(table_of_resource(release, resource_type) is None for release in releases):
        return _Scope(frozenset(), frozenset())
    types = frozenset(_Type(release, resource_type, None) for release in releases)
    return _Scope(types, types)


def name_of(node: _Node) -> str:
    """The name of a function, member or variable."""
    children = node.get("children") or [{}]
    name: str = children[0].get("text", "")
    return name.strip("`\"'")


def _why_not_boolean(node: _Node, scope: _Scope) -> str | None:
    node = _unwrapped(node)
    if node["type"] in {"AdditiveExpression", "MultiplicativeExpression", "PolarityExpression"}:
        return "the result of an operator on numbers or texts"
    if node["type"].endswith("Literal") and node["type"] not in {"BooleanLiteral", "NullLiteral"}:
        return f"the literal {node.get('text', '')}"
    last = node["children"][-1] if node["type"] == "InvocationExpression" else node
    if last["type"] == "FunctionInvocation":
        name, arguments = name_of(last["children"][0]), _arguments(last)
        if name in _NEVER_BOOLEAN:
            return f"the result of {name}()"
        if name == "iif" and len(arguments) > 1:
            reasons = [_why_not_boolean(argument, scope) for argument in arguments[1:]]
            return reasons[0] if all(reasons) else None
    types = _types(node, scope)
    if not types or any(each.name == "boolean" for each in types):
        return None
    names = sorted({each.name for each in types})
    return f"{node.get('text') or f'%{name_of(node)}'}, which has the type {' or '.join(names[:3])},"


def _unknown_elements(node: _Node, scope: _Scope) -> Iterator[str]:
    node = _unwrapped(node)
    if node["type"] == "MemberInvocation":
        yield from _missing(scope.item, name_of(node))
    elif node["type"] == "FunctionInvocation":
        yield from _unknown_in_arguments(node, scope, scope.item)
    elif node["type"] == "InvocationExpression":
        left, right = node["children"]
        yield from _unknown_elements(left, scope)
        types = _types(left, scope)
        if right["type"] == "MemberInvocation":
            yield from _missing(types, name_of(right))
        elif right["type"] == "FunctionInvocation":
            yield from _unknown_in_arguments(right, scope, types)
    elif node["type"] != "TypeSpecifier":
        for child in node.get("children", []):
            yield from _unknown_elements(child, scope)


def _unknown_in_arguments(invocation: _Node, scope: _Scope, types: frozenset[_Type]) -> Iterator[str]:
    """`types` are those of the input of the function."""
    iterates = name_of(invocation["children"][0]) in _ITERATING
    inner = scope._replace(item=types if iterates else frozenset())
    for argument in _arguments(invocation):
        yield from _unknown_elements(argument, inner)


def _missing(types: frozenset[_Type], name: str) -> Iterator[str]:
    """The name, if none of the types has such an element and all of them are known."""
    if not types or any(_is_named(each, name) or next(_step({each}, name), None) for each in types):
        return
    owners = sorted({each.name for each in types})
    yield f"{name}, which is not an element of {' or '.join(owners[:3])}"


def _is_named(owner: _Type, name: str) -> bool:
    """Whether the name may be there although no table has it."""
    if owner.element is None:
        return name in {owner.name, "resourceType"}
    return owner.element.type_name == NESTED or (owner.element.is_primitive and name == "value")


def _types(node: _Node, scope: _Scope) -> frozenset[_Type]:
    """The types that a path may have in the releases that have it; none if that is not known."""
    node = _unwrapped(node)
    kind = node["type"]
    if kind == "ThisInvocation":
        return scope.item
    if kind == "ExternalConstant" and name_of(node) in _STATES:
        return scope.resource
    if kind == "MemberInvocation":
        if any(each.element is None and each.name == name_of(node) for each in scope.item):
            return scope.item
        return frozenset(_step(scope.item, name_of(node)))
    if kind == "IndexerExpression":
        return _types(node["children"][0], scope)
    if kind != "InvocationExpression":
        return frozenset()
    left, right = node["children"]
    return _types_of_invocation(left, right, scope)


def _types_of_invocation(left: _Node, right: _Node, scope: _Scope) -> frozenset[_Type]:
    types = _types(left, scope)
    if right["type"] == "MemberInvocation":
        return frozenset(_step(types, name_of(right)))
    if right["type"] == "FunctionInvocation":
        name, arguments = name_of(right["children"][0]), _arguments(right)
        if name in _SELECTING:
            return types
        if name == "select" and len(arguments) == 1:
            return _types(arguments[0], scope._replace(item=types))
    return frozenset()


def _step(types: Collection[_Type], name: str) -> Iterator[_Type]:
    """The types of an element of the given types, by its name in FHIRPath (a choice has one name for all its
    types) or in JSON, which the engine takes too.
    """
    for each in types:
        for element_name, element in _elements_of(each).items():
            if name in (element.choice or element_name, element_name):
                yield _Type(each.release, element.type_name, element)


def _elements_of(owner: _Type) -> Mapping[str, Element]:
    if owner.element is None:
        return table_of_type(owner.release, owner.name).elements
    if owner.element.has_elements:
        return table_of_type(owner.release, owner.name).elements
    return table_of_type(owner.release, "Element").elements if owner.element.is_primitive else {}


def _unwrapped(node: _Node) -> _Node:
    while node["type"] in _WRAPPERS:
        node = node["children"][0]
    return node


def _arguments(invocation: _Node) -> list[_Node]:
    """The arguments of a function that is invoked."""
    parameters = next(
        (node for node in invocation["children"][0]["children"] if node["type"] == "ParamList"), None
    )
    return list(parameters["children"]) if parameters is not None else []
