"""The one door to the FHIRPath engine.

The engine accepts broken expressions and drops what it doesn't understand; here every expression is parsed to its last
token, and unknown functions and variables are refused before anything is evaluated. Cost is limited by length; deeper
nesting than the engine can follow is an error, not a crash.
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
from broker.model.release import Release

__all__ = [
    "MAX_EXPRESSION_CHARS",
    "BadExpression",
    "EvaluationFailed",
    "Expression",
    "compile_expression",
    "evaluate_criteria",
    "referenced_type",
]

MAX_EXPRESSION_CHARS = 4096
_VARIABLES = frozenset({"previous", "current", "resource", "rootResource", "context", "ucum"})
_MODELS = {
    Release.R4: "r4",
    Release.R4B: "r4",
    Release.R5: "r5",
}  # the engine has no R4B; its choice elements are R4's
# the engine's own functions carry no types: they are called as Any
_create_node: Any = engine_nodes.ResourceNode.create_node
_parse: Any = engine_parser.parse
_lexer: Any = FHIRPathLexer.FHIRPathLexer
_parser: Any = FHIRPathParser.FHIRPathParser

Expression = Callable[[Any, Mapping[str, Any]], list[Any]]
"""Evaluates on a resource, with the variables of the environment (`previous` is read as `%previous`)."""


class BadExpression(BrokerError):  # noqa: N818 named for what is the case
    """The text is no FHIRPath that the engine can evaluate; found before evaluation."""


@lru_cache(maxsize=1024)
def compile_expression(expr: str, release: Release = Release.R5) -> Expression:
    """Raises BadExpression; what is returned raises EvaluationFailed. A variable that is None or [] is empty."""
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
        except Exception as error:  # the engine raises bare Exception for every failure of evaluation
            raise EvaluationFailed(f"{type(error).__name__}: {error}"[:300]) from error

    return evaluate


def evaluate_criteria(
    expr: str, previous: dict[str, Any] | None, current: dict[str, Any] | None, release: Release
) -> bool:
    """Whether a topic's fhirPathCriteria fires: only on a singleton true (R-040..R-042).

    Raises EvaluationFailed for an error or a result that is no boolean; BadExpression where the text is broken.
    """
    root = current if current is not None else previous
    if root is None:
        return False
    environment = {"previous": previous, "current": current, "resource": root, "rootResource": root}
    found = compile_expression(expr, release)(root, environment)
    if not found or found == [False]:
        return False
    if len(found) != 1 or not isinstance(found[0], bool):
        raise EvaluationFailed(f"the criteria gave {len(found)} values, not one boolean")
    return True


def referenced_type(value: object) -> str | None:
    """The resource type that a Reference, or the text of one, points at; None where it doesn't say."""
    said: object = None
    if isinstance(value, dict):
        said, value = value.get("type"), value.get("reference")
    if isinstance(value, str) and not value.startswith(("#", "urn:")):
        steps = value.split("/_history/")[0].split("/")
        if len(steps) > 1 and steps[-2][:1].isupper():
            return steps[-2]
    return said.rsplit("/", 1)[-1] if isinstance(said, str) else None


def _resolve(inputs: list[Any]) -> list[Any]:
    """Stands in for resolve(): matching fetches nothing, so only the type of the target is known."""
    types = (referenced_type(one) for one in inputs)
    return [_node({"resourceType": one}) for one in types if one]


def _node(value: Any) -> Any:
    return _create_node(value) if isinstance(value, dict) else value


def _check(expr: str) -> None:
    if len(expr) > MAX_EXPRESSION_CHARS:
        raise BadExpression(f"longer than {MAX_EXPRESSION_CHARS} characters")
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
        raise BadExpression("nested too deeply") from None
    except BadExpression:
        raise
    except Exception as error:
        raise BadExpression(f"not FHIRPath: {error}") from error
    if not is_whole:
        raise BadExpression("not FHIRPath: syntax error")
    for kind, name in _names(tree):
        if kind == "Functn" and name not in invocation_registry and name != "resolve":
            raise BadExpression(f"unknown function {name}()")
        if kind == "ExternalConstant" and name not in _VARIABLES:
            raise BadExpression(f"unknown variable %{name}")


def _refuse(error: Exception) -> None:
    raise BadExpression("not FHIRPath: unexpected character") from error


def _names(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every function and variable that the parsed expression names."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        children = node.get("children", [])
        if node.get("type") in {"Functn", "ExternalConstant"} and children:
            yield node["type"], children[0].get("text", "").strip("`\"'")
        waiting.extend(children)
