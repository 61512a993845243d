"""The interface to the FHIRPath engine; only this module and `fhirpath_functions` import `fhirpathpy`.

The engine accepts invalid expressions and ignores what it does not understand. This module parses every
expression to its last token and refuses what can't be evaluated before anything is: unknown and dangerous
functions, unknown variables, comparisons with quantities, criteria that are never a boolean or name elements
that do not exist. The length of an expression and the bounds in `fhirpath_functions` limit its cost. An
expression that is nested too deeply for the engine raises BadExpression.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]  # it publishes no types
from fhirpathpy import apply_parsed_path
from fhirpathpy import parser as engine_parser
from fhirpathpy.engine import nodes as engine_nodes
from fhirpathpy.models import models
from fhirpathpy.parser.generated import FHIRPathLexer, FHIRPathParser

from broker.errors import BrokerError
from broker.matching.criteria_types import find_unknown_element, name_of, why_not_boolean
from broker.matching.fhirpath_functions import REFUSED, SUPPLIED, compile_pattern, known_functions
from broker.matching.problems import EvaluationFailed
from broker.matching.references import referenced_type
from broker.model.release import Release

MAX_EXPRESSION_CHARS = 4096
MAX_STEPS = 250
"""Points and brackets in an expression; the time to parse it grows with their square."""
_VARIABLES = frozenset({"previous", "current", "resource", "rootResource", "context", "ucum"})
# the engine has no model of R4B, whose choice elements are those of R4
_MODELS = {Release.R4: "r4", Release.R4B: "r4", Release.R5: "r5"}
_FUNCTIONS = known_functions() | {"resolve"}
# the engine's functions have no type annotations
_create_node: Any = engine_nodes.ResourceNode.create_node
_apply: Any = apply_parsed_path
_parse: Any = engine_parser.parse
_lexer: Any = FHIRPathLexer.FHIRPathLexer
_parser: Any = FHIRPathParser.FHIRPathParser

Expression = Callable[[Any, Mapping[str, Any]], list[Any]]
"""Evaluates on a resource, with the variables of the environment: `%previous` reads the variable `previous`.
"""


class BadExpression(BrokerError):  # noqa: N818 named for what is the case
    """The text is not FHIRPath that the engine can evaluate. Raised when it is compiled."""


@lru_cache(maxsize=1024)
def compile_expression(expr: str, release: Release = Release.R5) -> Expression:
    """Raises BadExpression; the compiled expression raises EvaluationFailed. A variable that is None or [] is
    empty.
    """
    tree, model = _checked_tree(expr), models[_MODELS[release]]
    options = {"userInvocationTable": {**SUPPLIED, "resolve": {"fn": _resolve, "arity": {0: []}}}}

    def evaluate(resource: Any, environment: Mapping[str, Any]) -> list[Any]:
        variables = {name: _node(value) for name, value in environment.items()}
        try:
            return list(_apply(resource, tree, variables, model, options))
        except Exception as error:  # the engine raises bare Exception for every failure
            raise EvaluationFailed(f"{type(error).__name__}: {error}"[:300]) from error

    return evaluate


def compile_invariant(expr: str, release: Release, path: str) -> Callable[[Any, Mapping[str, Any]], bool]:
    """An invariant of a profile, for elements of a type (`Quantity`) or a path (`Observation.component`).

    Raises BadExpression. The compiled invariant takes the element and its resource, and raises
    EvaluationFailed.
    """
    evaluate = compile_expression(expr, release)

    def holds(element: Any, resource: Mapping[str, Any]) -> bool:
        node = _create_node(element, path)
        return evaluate(node, {"resource": resource, "rootResource": resource, "context": element}) == [True]

    return holds


@lru_cache(maxsize=1024)  # the topics are checked again whenever one of them changes
def check_criteria(expr: str, resource_type: str = "") -> None:
    """Raises BadExpression for criteria that can't be evaluated, that name an element which does not exist,
    or that are never one boolean.

    With the resource type of the trigger, the types of paths are known.
    """
    compile_expression(expr)
    tree = _checked_tree(expr)["children"][0]
    unknown = find_unknown_element(tree, resource_type)
    if unknown is not None:
        raise BadExpression(f"the criteria name {unknown}")
    reason = why_not_boolean(tree, resource_type)
    if reason is not None:
        raise BadExpression(f"{reason} is not a boolean, so the criteria are never true")


def evaluate_fhirpath(
    expr: str, previous: dict[str, Any] | None, current: dict[str, Any] | None, release: Release
) -> bool:
    """Whether FHIRPath criteria of a topic pass: only if the result is a single `true` (R-040..R-042).

    Raises EvaluationFailed for an error or another result than one boolean, BadExpression for an invalid
    text.
    """
    root = current if current is not None else previous
    if root is None:
        return False
    environment = {"previous": previous, "current": current, "resource": root, "rootResource": root}
    result = compile_expression(expr, release)(root, environment)
    if not result or result == [False]:
        return False
    if len(result) != 1 or not isinstance(result[0], bool):
        raise EvaluationFailed(f"the criteria gave {len(result)} values, not one boolean")
    return True


def _resolve(inputs: list[Any]) -> list[Any]:
    """Replaces resolve(): matching does not read the store, so only the type of the target is known."""
    types = (referenced_type(reference) for reference in inputs)
    return [_node({"resourceType": type_name}) for type_name in types if type_name]


def _node(value: Any) -> Any:
    return _create_node(value) if isinstance(value, dict) else value


@lru_cache(maxsize=1024)  # parsing is what costs most; criteria are compiled for each release
def _checked_tree(expr: str) -> dict[str, Any]:
    """The parsed expression, which nobody changes. Raises BadExpression."""
    if len(expr) > MAX_EXPRESSION_CHARS:
        raise BadExpression(f"it is longer than {MAX_EXPRESSION_CHARS} characters")
    if sum(map(expr.count, ".([")) > MAX_STEPS:
        raise BadExpression(f"it has more than {MAX_STEPS} points and brackets")
    try:
        lexer = _lexer(InputStream(expr))
        lexer.removeErrorListeners()
        lexer.recover = _refuse
        parser = _parser(CommonTokenStream(lexer))
        parser.removeErrorListeners()
        parser.entireExpression()
        is_whole = parser.getNumberOfSyntaxErrors() == 0
        tree = _parse(expr) if is_whole else {}
    except RecursionError:
        raise BadExpression("it is nested too deeply") from None
    except BadExpression:
        raise
    except Exception as error:
        raise BadExpression(f"it is not FHIRPath: {error}") from error
    if not is_whole:
        raise BadExpression("it is not FHIRPath: syntax error")
    for node, parents in _nodes(tree):
        _check_node(node, parents)
    return tree


def _refuse(error: Exception) -> None:
    raise BadExpression("it is not FHIRPath: unexpected character") from error


def _check_node(node: dict[str, Any], parents: tuple[str, ...]) -> None:
    node_type, name = node.get("type"), name_of(node)
    if node_type == "Functn":
        if name in REFUSED:
            raise BadExpression(f"{name}() is not evaluated: {REFUSED[name]}")
        if name not in _FUNCTIONS:
            raise BadExpression(f"unknown function {name}()")
        if name in {"matches", "replaceMatches"}:
            _check_pattern(node)
    elif node_type == "ExternalConstant" and name not in _VARIABLES:
        raise BadExpression(f"unknown variable %{name}")
    elif node_type == "QuantityLiteral":
        text = node.get("text", "")
        # the engine adds `3 days` to a date, and compares no quantities
        if "'" in text or "AdditiveExpression" not in parents:
            text = f"the quantity {text} is not compared; compare .value with the number, and the unit's code"
            raise BadExpression(text)


def _check_pattern(function: dict[str, Any]) -> None:
    """A pattern that is a literal is compiled now, so that one that RE2 does not support is refused."""
    parameters = next((node for node in function["children"] if node["type"] == "ParamList"), None)
    first = parameters["children"][0].get("text", "") if parameters is not None else ""
    if not re.fullmatch(r"'(?:[^'\\]|\\.)*'", first, re.DOTALL):
        return
    escapes = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
    pattern = re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), first[1:-1])
    try:
        compile_pattern(pattern)
    except ValueError as error:
        raise BadExpression(str(error)) from None


def _nodes(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The nodes of the parsed expression, each with the types of its parents."""
    pending: list[tuple[dict[str, Any], tuple[str, ...]]] = [(tree, ())]
    while pending:
        node, parents = pending.pop()
        yield node, parents
        inner = (*parents[-3:], node.get("type", ""))
        pending.extend((child, inner) for child in node.get("children", []))
