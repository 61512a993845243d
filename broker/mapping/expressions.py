"""Expressions of mapping files: JMESPath, and JSONPath for imported MedTech templates.

An expression never runs for long: neither language has loops, and the regular expressions of JSONPath run in
linear time. What goes wrong in one is reported as `ExpressionFailed`, whatever the payload has.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError

from broker.mapping.functions import MappingFunctions, Scope

_MAX_CHARS = 2_000
_NAMES = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_PATH = re.compile(rf"(payload\(\)\.)?({_NAMES})")
_EQUALITY = re.compile(rf"({_NAMES})\s*==\s*'([^'\\]*)'")
_COMPARISON = re.compile(rf"({_NAMES})\s*(==|!=)\s*(?:'([^'\\]*)'|null)")
_AND = re.compile(r"\s*&&\s*")

PAYLOAD = "payload()."
"""What an expression that is a path from the payload begins with."""
Evaluate = Callable[[Scope], Any]


class ExpressionFailed(Exception):  # noqa: N818 named after what happened
    """An expression cannot be evaluated on a payload. Has no text of the payload."""


class _Comparison(NamedTuple):
    path: str
    is_equal: bool
    text: str | None
    """None: null."""


class BadExpression(ValueError):  # noqa: N818
    """An expression is not valid. The text says why."""


class Expression:
    """A compiled expression. `path` is the path that it names, '' if it is more than a path. `equality`, if
    there is one, is a path and the text that an item must have there for the expression to be true.
    """

    __slots__ = ("_find", "equality", "evaluate", "is_jsonpath", "path", "text")

    evaluate: Evaluate
    """Gives the value, None if there is none. Raises `ExpressionFailed`."""

    def __init__(self, text: str, *, is_jsonpath: bool = False) -> None:
        """Raises `BadExpression`."""
        if len(text) > _MAX_CHARS:
            raise BadExpression(f"an expression has at most {_MAX_CHARS} characters")
        self.text = text
        self.is_jsonpath = is_jsonpath
        self.path = text if not is_jsonpath and _PATH.fullmatch(text) else ""
        self.equality: tuple[str, str] | None = None
        if is_jsonpath:
            self._find = _guarded(_jsonpath(text))
            self.evaluate = lambda scope: _only(self._find(scope))
            return
        compiled = _guarded(_compile(text))
        if self.path:
            is_of_payload = text.startswith(PAYLOAD)
            self.evaluate = _member_of(text.removeprefix(PAYLOAD), 0 if is_of_payload else -1)
        elif found := _EQUALITY.fullmatch(text):
            self.equality = (found[1], found[2])
            self.evaluate = _equals(found[1], found[2])
        elif comparisons := _comparisons_of(text):
            self.equality = next(
                ((path, wanted) for path, is_equal, wanted in comparisons if is_equal and wanted is not None),
                None,
            )
            self.evaluate = _conjunction(comparisons, compiled)
        else:
            self.evaluate = compiled

    def items(self, scope: Scope) -> list[Any]:
        """The items that the expression selects: what JSONPath finds; what JMESPath gives, or the elements of
        an array that it gives. Raises `ExpressionFailed`.
        """
        value = self._find(scope) if self.is_jsonpath else self.evaluate(scope)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def is_true(self, scope: Scope) -> bool:
        """Whether the value is true in the sense of JMESPath: not null, false, '', [] or {}."""
        value = self.evaluate(scope)
        return value is True or not (value is None or value is False or value in ("", [], {}))


def _guarded(evaluate: Evaluate) -> Evaluate:
    """Whatever goes wrong is `ExpressionFailed`."""

    def guarded(scope: Scope) -> Any:
        try:
            return evaluate(scope)
        except (JMESPathError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            raise ExpressionFailed("the expression cannot be evaluated on this payload") from None
        except RecursionError:
            raise ExpressionFailed("the payload is nested too deeply for the expression") from None

    return guarded


def _compile(text: str) -> Evaluate:
    try:
        compiled = jmespath.compile(text)
    except JMESPathError as error:
        raise BadExpression(f"not a JMESPath expression: {_first_line(error)}") from None
    except RecursionError:
        raise BadExpression("the expression is nested too deeply") from None
    for node in _nodes(compiled.parsed):
        if node["type"] == "literal":
            node["value"] = _exact(node["value"])
        if node["type"] == "function_expression" and node["value"] not in MappingFunctions.FUNCTION_TABLE:
            raise BadExpression(f"there is no function {node['value']}()")

    def evaluate(scope: Scope) -> Any:
        return compiled.search(scope.item, jmespath.Options(custom_functions=scope.functions))

    return evaluate


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict) and "type" in current:
            yield current
            waiting.extend(current.get("children", ()))


def _exact(value: Any) -> Any:
    """A literal whose numbers are Decimal: those of payloads are, and 0.1 differs from Decimal('0.1')."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [_exact(each) for each in value]
    if isinstance(value, dict):
        return {key: _exact(each) for key, each in value.items()}
    return value


def _member_of(path: str, start: int = -1) -> Evaluate:
    """As the JMESPath interpreter, ten times faster. `start`: the position of the item in `Scope.items`."""
    first, *others = path.split(".")

    def member(scope: Scope) -> Any:
        value = scope.items[start]
        return value.get(first) if isinstance(value, dict) else None

    def descendant(scope: Scope) -> Any:
        value = member(scope)
        for name in others:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return descendant if others else member


def _equals(path: str, text: str) -> Evaluate:
    member = _member_of(path)
    return lambda scope: member(scope) == text


def _comparisons_of(text: str) -> Sequence[_Comparison]:
    """The comparisons of paths with texts and null that are joined by &&: most conditions are such. Empty for
    another expression.
    """
    parts = [_COMPARISON.fullmatch(part) for part in _AND.split(text.strip())]
    if not all(parts):
        return ()
    return [_Comparison(part[1], part[2] == "==", part[3]) for part in parts if part]


def _conjunction(comparisons: Sequence[_Comparison], compiled: Evaluate) -> Evaluate:
    """As the JMESPath interpreter, which is `compiled`."""
    tests = [(_member_of(path), is_equal, wanted) for path, is_equal, wanted in comparisons]
    # `null` is a member of that name, which no payload should have
    null_member = _member_of("null")

    def evaluate(scope: Scope) -> Any:
        if null_member(scope) is not None:
            return compiled(scope)
        return all((member(scope) == wanted) is is_equal for member, is_equal, wanted in tests)

    return evaluate


def _jsonpath(text: str) -> Evaluate:
    from broker.mapping.json_paths import (  # noqa: PLC0415 only imported mappings use it
        BadJsonPath,
        compile_json_path,
    )

    try:
        find = compile_json_path(text)
    except BadJsonPath as error:
        raise BadExpression(str(error)) from None
    return lambda scope: find(scope.item)


def _only(found: list[Any]) -> Any:
    """What JSONPath finds as one value: all of it if that is several."""
    if not found:
        return None
    return found[0] if len(found) == 1 else found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(":.")
