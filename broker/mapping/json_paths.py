"""JSONPath of imported MedTech templates, with the meaning that it has there (Json.NET).

`..[?…]` tests the object that it begins at, and all values in it. `=~` finds a pattern anywhere in a text, in
time that is linear in the text, since RE2 runs it. Numbers are compared as decimals, and a comparison with a
member that is not there is false.

Imported only where a mapping has a JSONPath expression.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import re2
from jsonpath import JSONPathEnvironment, JSONPathMatch, NodeList
from jsonpath.exceptions import JSONPathError
from jsonpath.filter import BaseExpression, FloatLiteral, RegexLiteral
from jsonpath.parse import Parser
from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import Filter, FilterContext
from jsonpath.stream import TokenStream

_FUNCTIONS = re.compile(r"\b(?:match|search)\s*\(")
_OTHER_OPERATORS: Mapping[str, str] = {"===": "==", "!==": "!=", "<>": "!="}
_QUOTED_OR_OTHER = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<other>[=!]==|<>)""")
_MAX_MEMORY = 1 << 20


class BadJsonPath(ValueError):  # noqa: N818
    """An expression is not valid, or has what is not supported. The text says why."""


class JsonPathFailed(ValueError):  # noqa: N818
    """An expression cannot be evaluated on a payload."""


def compile_json_path(text: str) -> Callable[[Any], list[Any]]:
    """The values that the expression finds in a payload, in their order. Raises `BadJsonPath`; the function
    raises `JsonPathFailed`.
    """
    if _FUNCTIONS.search(text):
        raise BadJsonPath("the functions match and search are not supported in JSONPath; write =~")
    plain = _QUOTED_OR_OTHER.sub(lambda found: _OTHER_OPERATORS.get(found[0], found[0]), text)
    try:
        compiled = _ENVIRONMENT.compile(plain)
    except (JSONPathError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(":.")
        raise BadJsonPath(f"not a JSONPath expression: {reason}") from None

    def find(payload: Any) -> list[Any]:
        try:
            return list(compiled.findall(payload))
        except JSONPathError:
            raise JsonPathFailed from None

    return find


class _Scan(JSONPathRecursiveDescentSegment):
    """`..` before a filter: the filter is for each value below a node, and for the node."""

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterable[JSONPathMatch]:
        for node in nodes:
            for each in _each(node):
                for selector in self.selectors:
                    if not isinstance(selector, Filter):
                        yield from selector.resolve(each)
                    elif selector.expression.evaluate(_context(self.env, each)):
                        yield each


def _each(node: JSONPathMatch) -> Iterator[JSONPathMatch]:
    yield node
    if isinstance(node.obj, Mapping):
        for name, value in node.obj.items():
            yield from _each(node.new_child(value, name))
    elif isinstance(node.obj, list):
        for place, value in enumerate(node.obj):
            yield from _each(node.new_child(value, place))


def _context(env: JSONPathEnvironment, node: JSONPathMatch) -> FilterContext:
    return FilterContext(env=env, current=node.obj, root=node.root, extra_context=node.filter_context())


class _Pattern(RegexLiteral):
    """A regular expression that RE2 runs."""

    def __str__(self) -> str:
        return f"/{self.value.pattern}/"


class _Parser(Parser):
    def parse_query(self, stream: TokenStream) -> Iterable[JSONPathSegment]:
        for segment in super().parse_query(stream):
            is_scan = isinstance(segment, JSONPathRecursiveDescentSegment)
            if is_scan and any(isinstance(each, Filter) for each in segment.selectors):
                yield _Scan(env=segment.env, token=segment.token, selectors=segment.selectors)
            else:
                yield segment

    def parse_regex(self, stream: TokenStream) -> BaseExpression:
        pattern, flags = stream.next().value, "".join(sorted({*stream.next().value}))
        if "a" in flags:
            raise BadJsonPath("the regular expression has a flag that is not i, m or s")
        return _Pattern(value=_pattern(f"(?{flags}){pattern}" if flags else pattern))

    def parse_float_literal(self, stream: TokenStream) -> BaseExpression:
        return FloatLiteral(value=Decimal(stream.next().value))  # type: ignore[arg-type]  # compared as one


def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        return re2.compile(text, options)
    except re2.error:
        raise BadJsonPath(
            "the regular expression has what RE2 does not support, such as look-around or a back-reference"
        ) from None


class _Environment(JSONPathEnvironment):
    parser_class = _Parser

    def compare(self, left: object, operator: str, right: object) -> bool:
        """Whether any values compare so: none does where a side has no value."""
        if operator in {"&&", "||"}:
            return super().compare(left, operator, right)
        return any(
            self._compare(value, operator, other) for value in _values(left) for other in _values(right)
        )

    def _compare(self, left: object, operator: str, right: object) -> bool:
        if operator == "=~":
            return isinstance(left, str) and hasattr(right, "search") and right.search(left) is not None
        return super().compare(left, operator, right)


def _values(side: object) -> list[object]:
    return side.values() if isinstance(side, NodeList) else [side]


_ENVIRONMENT = _Environment()
