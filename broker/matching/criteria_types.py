"""Finds FHIRPath criteria whose result is never a boolean, by the elements that they name.

A topic with such criteria would be active and never fire (R-042). `fhirpath.py` asks about each expression
that a topic brings; what this analysis can't decide is decided at each evaluation.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from broker.fhir.element_tables import Element, table_of_model, table_of_resource, table_of_type
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
_STATES = frozenset({"current", "previous", "resource", "rootResource", "context"})


class _Type(NamedTuple):
    """A type that a path may have in a release, and the element that has it; None for the resource."""

    release: Release
    name: str
    element: Element | None


def why_not_boolean(expression: _Node, resource_type: str) -> str | None:
    """What the result of an expression is, if it is never a boolean; else None.

    `resource_type` is that of the trigger. Paths of an unknown type are not analysed.
    """
    root = frozenset(
        _Type(release, resource_type, None)
        for release in Release
        if table_of_resource(release, resource_type) is not None
    )
    return _why_not_boolean(expression, root)


def name_of(node: _Node) -> str:
    """The name of a function, member or variable."""
    children = node.get("children") or [{}]
    name: str = children[0].get("text", "")
    return name.strip("`\"'")


def _why_not_boolean(node: _Node, root: frozenset[_Type]) -> str | None:
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
            reasons = [_why_not_boolean(argument, root) for argument in arguments[1:]]
            return reasons[0] if all(reasons) else None
    types = _types(node, root)
    if not types or any(each.name == "boolean" for each in types):
        return None
    names = sorted({each.name for each in types})
    return f"{node.get('text') or f'%{name_of(node)}'}, which has the type {' or '.join(names[:3])},"


def _types(node: _Node, root: frozenset[_Type]) -> frozenset[_Type]:
    """The types that a path may have in the releases that have it; none if that is not known."""
    node = _unwrapped(node)
    kind = node["type"]
    if kind == "ThisInvocation" or (kind == "ExternalConstant" and name_of(node) in _STATES):
        return root
    if kind == "MemberInvocation":
        if any(each.name == name_of(node) for each in root):
            return root
        return frozenset(_step(root, name_of(node)))
    if kind == "IndexerExpression":
        return _types(node["children"][0], root)
    if kind != "InvocationExpression":
        return frozenset()
    left, right = node["children"]
    types = _types(left, root)
    if right["type"] == "MemberInvocation":
        return frozenset(_step(types, name_of(right)))
    if right["type"] == "FunctionInvocation":
        name, arguments = name_of(right["children"][0]), _arguments(right)
        if name in _SELECTING:
            return types
        if name == "select" and len(arguments) == 1:
            return _types(arguments[0], types)
    return frozenset()


def _step(types: frozenset[_Type], name: str) -> Iterator[_Type]:
    """The types of an element of the given types; a choice has one name for all its types."""
    for each in types:
        if each.element is None:
            table = table_of_type(each.release, each.name)
        elif each.element.model is not None:
            table = table_of_model(each.release, each.element.model)
        else:
            continue
        for element_name, element in table.elements.items():
            if name == (element.choice or element_name):
                yield _Type(each.release, element.type_name, element)


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
