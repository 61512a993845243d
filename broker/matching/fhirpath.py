"""The interface to the FHIRPath engine; no other module imports `fhirpathpy`.

The engine accepts invalid expressions and ignores what it does not understand. This module parses every
expression to its last token and refuses unknown functions and variables before anything is evaluated. The
length of an expression limits its cost. An expression that is nested too deeply for the engine raises
BadExpression.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]  # it publishes no types
from fhirpathpy import compile as engine_compile
from fhirpathpy import parser as engine_parser
from fhirpathpy.engine import nodes as engine_nodes
from fhirpathpy.engine.invocations import invocation_registry
from fhirpathpy.models import models
from fhirpathpy.parser.generated import FHIRPathLexer, FHIRPathParser

from broker.errors import BrokerError
from broker.matching.problems import EvaluationFailed
from broker.matching.references import referenced_type
from broker.model.release import Release

MAX_EXPRESSION_CHARS = 4096
_VARIABLES = frozenset({"previous", "current", "resource", "rootResource", "context", "ucum"})
# the engine has no model of R4B, whose choice elements are those of R4
_MODELS = {Release.R4: "r4", Release.R4B: "r4", Release.R5: "r5"}
# the engine's functions have no type annotations
_create_node: Any = engine_nodes.ResourceNode.create_node
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
    _check(expr)
    compiled = engine_compile(
        expr,
        model=models[_MODELS[release]],
        options={"userInvocationTable": {"resolve": {"fn": _resolve, "arity": {0: []}}}},
    )

    def evaluate(resource: Any, environment: Mapping[str, Any]) -> list[Any]:
        variables = {name: _node(value) for name, value in environment.items()}
        try:
            return list(compiled(resource, variables))
        except Exception as error:  # the engine raises bare Exception for every failure
            raise EvaluationFailed(f"{type(error).__name__}: {error}"[:300]) from error

    return evaluate


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


def _check(expr: str) -> None:
    if len(expr) > MAX_EXPRESSION_CHARS:
        raise BadExpression(f"it is longer than {MAX_EXPRESSION_CHARS} characters")
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
    for kind, name in _names(tree):
        if kind == "Functn" and name not in invocation_registry and name != "resolve":
            raise BadExpression(f"unknown function {name}()")
        if kind == "ExternalConstant" and name not in _VARIABLES:
            raise BadExpression(f"unknown variable %{name}")


def _refuse(error: Exception) -> None:
    raise BadExpression("it is not FHIRPath: unexpected character") from error


def _names(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The functions and variables that the parsed expression names."""
    pending = [tree]
    while pending:
        node = pending.pop()
        children = node.get("children", [])
        if node.get("type") in {"Functn", "ExternalConstant"} and children:
            yield node["type"], children[0].get("text", "").strip("`\"'")
        pending.extend(children)
