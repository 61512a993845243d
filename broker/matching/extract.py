"""Search-parameter expressions as plain Python closures.

The closures cover the part of FHIRPath that FHIR's own search parameters use: paths, unions, `as`, `ofType`,
`where`, `extension` and choice elements. The FHIRPath engine evaluates every other expression. Nodes are in
document order.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from broker.errors import BrokerError
from broker.matching import steps
from broker.matching.fhirpath import compile_expression
from broker.matching.steps import ElementNode, Step
from broker.model.release import Release

_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(\d+)|(!=|[=.()\[\]|])|([%$]?[A-Za-z_]\w*))")
_MAX_DEPTH = 50

Extractor = Callable[[Any], list[ElementNode]]


class _UnsupportedSyntax(BrokerError):  # noqa: N818 named for what is the case
    """The closures don't cover the syntax of the expression."""


@lru_cache(maxsize=4096)
def compile_extractor(expression: str, release: Release = Release.R5) -> Extractor:
    """A function that selects the nodes of an expression in a resource, or in an element of one.

    Raises BadExpression; the function raises EvaluationFailed.
    """
    try:
        step = _Parser(expression).parse()
    except _UnsupportedSyntax:
        return _by_engine(expression, release)

    def extract(root: Any) -> list[ElementNode]:
        return step([ElementNode(root)], root)

    return extract


def is_covered(expression: str) -> bool:
    """Whether the closures can evaluate the expression, without the FHIRPath engine."""
    try:
        _Parser(expression).parse()
    except _UnsupportedSyntax:
        return False
    return True


def _by_engine(expression: str, release: Release) -> Extractor:
    evaluate = compile_expression(expression, release)
    return lambda root: [
        ElementNode(value) for value in evaluate(root, {"resource": root}) if value is not None
    ]


class _Parser:
    """A recursive-descent parser. Precedence, weakest first: `and`, `=`, `|`, `as` and `is`, paths."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        self._at = 0
        self._depth = 0
        position, text = 0, text.rstrip()
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:
                raise _UnsupportedSyntax(text)
            self._tokens.append(token.group().strip())
            position = token.end()

    def parse(self) -> Step:
        step = self._and()
        if self._at < len(self._tokens):
            raise _UnsupportedSyntax(self._tokens[self._at])
        return step

    def _and(self) -> Step:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _UnsupportedSyntax("nested too deeply")
        left = self._equality()
        while self._take("and"):
            left = steps.both(left, self._equality())
        self._depth -= 1
        return left

    def _equality(self) -> Step:
        left = self._union()
        for sign, expected in (("=", True), ("!=", False)):
            if self._take(sign):
                return steps.equal(left, self._union(), expected=expected)
        return left

    def _union(self) -> Step:
        parts = [self._typed()]
        while self._take("|"):
            parts.append(self._typed())
        return parts[0] if len(parts) == 1 else steps.union(parts)

    def _typed(self) -> Step:
        step = self._path()
        while True:
            if self._take("as"):
                step = steps.chain(step, steps.of_type(self._name()))
            elif self._take("is"):
                step = steps.chain(step, steps.is_type(self._name()))
            else:
                return step

    def _path(self) -> Step:
        step = self._first()
        while True:
            if self._take("."):
                step = steps.chain(step, self._invocation())
            elif self._take("["):
                step = steps.chain(step, steps.at(int(self._next(str.isdigit))))
                self._expect("]")
            else:
                return step

    def _first(self) -> Step:
        token = self._peek()
        if self._take("("):
            step = self._and()
            self._expect(")")
            return step
        if token.startswith("'"):
            self._at += 1
            return steps.constant(token[1:-1].replace("\\'", "'").replace("\\\\", "\\"))
        if token.isdigit():
            self._at += 1
            return steps.constant(int(token))
        for word, value in (("true", True), ("false", False)):
            if self._take(word):
                return steps.constant(value)
        if self._take("%resource"):
            return lambda _, root: [ElementNode(root)]
        if self._take("$this"):
            return lambda focus, _: focus
        if token[:1].isupper():
            self._at += 1
            return steps.of_resource(token)
        return self._invocation()

    def _invocation(self) -> Step:
        name = self._name()
        if not self._take("("):
            return steps.member(name)
        if name in {"as", "ofType", "where", "extension"}:
            make: dict[str, Callable[[], Step]] = {
                "as": lambda: steps.of_type(self._name()),
                "ofType": lambda: steps.of_type(self._name()),
                "where": lambda: steps.where(self._and()),
                "extension": lambda: steps.extension(self._next(lambda token: token.startswith("'"))[1:-1]),
            }
            step = make[name]()
        elif name in steps.FUNCTIONS:
            step = steps.FUNCTIONS[name]
        else:
            raise _UnsupportedSyntax(name)
        self._expect(")")
        return step

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            raise _UnsupportedSyntax("unexpected end")
        return self._tokens[self._at]

    def _next(self, allowed: Callable[[str], bool]) -> str:
        token = self._peek()
        if not allowed(token):
            raise _UnsupportedSyntax(token)
        self._at += 1
        return token

    def _name(self) -> str:
        return self._next(lambda token: token[0].isalpha())

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        self._next(lambda following: following == token)
