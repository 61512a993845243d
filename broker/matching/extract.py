"""Search-parameter expressions as plain Python closures.

Covers the FHIRPath that FHIR's own search parameters are written in: paths, unions, `as`, `ofType`, `where`, `extension`,
choice elements. Anything else goes to the FHIRPath engine. Values are found in document order and shared with the resource:
nobody may change them. A choice element (`value[x]`) tells the type it was given in.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from broker.errors import BrokerError
from broker.matching.fhirpath import compile_expression, referenced_type
from broker.model.release import Release

_TYPE_OF_SUFFIX = {
    name[0].upper() + name[1:]: name
    for name in re.findall(
        r"\w+",
        """base64Binary boolean canonical code date dateTime decimal id instant integer integer64 markdown oid positiveInt
        string time unsignedInt uri url uuid
        Address Age Annotation Attachment Availability CodeableConcept CodeableReference Coding ContactDetail ContactPoint
        Contributor Count DataRequirement Distance Dosage Duration Expression ExtendedContactDetail HumanName Identifier
        Meta Money ParameterDefinition Period Quantity Range Ratio RatioRange Reference RelatedArtifact SampledData
        Signature Timing TriggerDefinition UsageContext""",
    )
}
_QUANTITIES = frozenset({"Age", "Count", "Distance", "Duration"})
_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(\d+)|(!=|[=.()\[\]|])|([%$]?[A-Za-z_]\w*))")
_MAX_DEPTH = 50


class Node(NamedTuple):
    """An element found in a resource; `type` is known for choice elements only."""

    value: Any
    type: str | None = None


Extractor = Callable[[Any], list[Node]]
_Step = Callable[[list[Node], Any], list[Node]]


class _Beyond(BrokerError):  # noqa: N818 named for what is the case
    """The expression uses more than the closures cover."""


@lru_cache(maxsize=4096)
def compile_extractor(expression: str, release: Release = Release.R5) -> Extractor:
    """Finds an expression's values in a resource, or in an element of it. Raises BadExpression; the result EvaluationFailed."""
    try:
        step = _Parser(expression).parse()
    except _Beyond:
        return _by_engine(expression, release)

    def extract(root: Any) -> list[Node]:
        return step([Node(root)], root)

    return extract


def is_covered(expression: str) -> bool:
    """Whether the expression needs no FHIRPath engine."""
    try:
        _Parser(expression).parse()
    except _Beyond:
        return False
    return True


def _by_engine(expression: str, release: Release) -> Extractor:
    evaluate = compile_expression(expression, release)
    return lambda root: [Node(value) for value in evaluate(root, {"resource": root}) if value is not None]


class _Parser:
    """Recursive descent, by FHIRPath's precedence: `and`, then `=`, then `|`, then `as`/`is`, then paths."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        self._at = 0
        self._depth = 0
        position, text = 0, text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise _Beyond(text)
            self._tokens.append(found.group().strip())
            position = found.end()

    def parse(self) -> _Step:
        step = self._and()
        if self._at < len(self._tokens):
            raise _Beyond(self._tokens[self._at])
        return step

    def _and(self) -> _Step:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _Beyond("nested too deeply")
        left = self._equality()
        while self._take("and"):
            left = _both(left, self._equality())
        self._depth -= 1
        return left

    def _equality(self) -> _Step:
        left = self._union()
        for sign, wanted in (("=", True), ("!=", False)):
            if self._take(sign):
                return _equal(left, self._union(), wanted=wanted)
        return left

    def _union(self) -> _Step:
        parts = [self._typed()]
        while self._take("|"):
            parts.append(self._typed())
        return parts[0] if len(parts) == 1 else _union(parts)

    def _typed(self) -> _Step:
        step = self._path()
        while True:
            if self._take("as"):
                step = _chain(step, _of_type(self._name()))
            elif self._take("is"):
                step = _chain(step, _is(self._name()))
            else:
                return step

    def _path(self) -> _Step:
        step = self._first()
        while True:
            if self._take("."):
                step = _chain(step, self._invocation())
            elif self._take("["):
                step = _chain(step, _at(int(self._next(str.isdigit))))
                self._expect("]")
            else:
                return step

    def _first(self) -> _Step:
        token = self._peek()
        if self._take("("):
            step = self._and()
            self._expect(")")
            return step
        if token.startswith("'"):
            self._at += 1
            return _constant(token[1:-1].replace("\\'", "'").replace("\\\\", "\\"))
        if token.isdigit():
            self._at += 1
            return _constant(int(token))
        for word, value in (("true", True), ("false", False)):
            if self._take(word):
                return _constant(value)
        if self._take("%resource"):
            return lambda _, root: [Node(root)]
        if self._take("$this"):
            return lambda focus, _: focus
        if token[:1].isupper():
            self._at += 1
            return _resource(token)
        return self._invocation()

    def _invocation(self) -> _Step:
        name = self._name()
        if not self._take("("):
            return _member(name)
        if name in {"as", "ofType", "where", "extension"}:
            make: dict[str, Callable[[], _Step]] = {
                "as": lambda: _of_type(self._name()),
                "ofType": lambda: _of_type(self._name()),
                "where": lambda: _where(self._and()),
                "extension": lambda: _extension(self._next(lambda one: one.startswith("'"))[1:-1]),
            }
            step = make[name]()
        elif name in _FUNCTIONS:
            step = _FUNCTIONS[name]
        else:
            raise _Beyond(name)
        self._expect(")")
        return step

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            raise _Beyond("ends early")
        return self._tokens[self._at]

    def _next(self, allowed: Callable[[str], bool]) -> str:
        token = self._peek()
        if not allowed(token):
            raise _Beyond(token)
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
        self._next(lambda one: one == token)


def _constant(value: Any) -> _Step:
    nodes = [Node(value)]
    return lambda _, __: nodes


def _chain(first: _Step, then: _Step) -> _Step:
    return lambda focus, root: then(first(focus, root), root)


def _union(parts: list[_Step]) -> _Step:
    def union(focus: list[Node], root: Any) -> list[Node]:
        found: list[Node] = []
        for part in parts:
            for node in part(focus, root):
                if node not in found:
                    found.append(node)
        return found

    return union


def _resource(name: str) -> _Step:
    """The leading type of a path: parts of a union for other types give nothing."""
    if name in {"Resource", "DomainResource"}:
        return lambda focus, _: focus

    def of_that_type(focus: list[Node], _: Any) -> list[Node]:
        return [
            node for node in focus if isinstance(node.value, dict) and node.value.get("resourceType") == name
        ]

    return of_that_type


def _member(name: str) -> _Step:
    size = len(name)

    def choice(element: dict[str, Any]) -> list[Node]:
        for key, value in element.items():
            if key.startswith(name):
                type_name = _TYPE_OF_SUFFIX.get(key[size:])
                if type_name is not None:
                    return _nodes(value, type_name)
        return []

    def member(focus: list[Node], _: Any) -> list[Node]:
        found: list[Node] = []
        for node in focus:
            element = node.value
            if isinstance(element, dict):
                value = element.get(name)
                found += choice(element) if value is None else _nodes(value, None)
        return found

    return member


def _nodes(value: Any, type_name: str | None) -> list[Node]:
    if isinstance(value, list):
        return [Node(one, type_name) for one in value if one is not None]
    return [] if value is None else [Node(value, type_name)]


def _has_type(node: Node, name: str) -> bool:
    if isinstance(node.value, dict) and "resourceType" in node.value:
        return bool(node.value["resourceType"] == name)
    if node.type is None:
        return isinstance(node.value, dict) == name[0].isupper()
    # R4 writes `as(DateTime)` where the type is dateTime
    return node.type in {name, name[0].lower() + name[1:]} or (
        name == "Quantity" and node.type in _QUANTITIES
    )


def _of_type(name: str) -> _Step:
    return lambda focus, _: [
        node if node.type else Node(node.value, name) for node in focus if _has_type(node, name)
    ]


def _is(name: str) -> _Step:
    return lambda focus, _: [Node(_has_type(focus[0], name))] if len(focus) == 1 else []


def _at(index: int) -> _Step:
    return lambda focus, _: focus[index : index + 1]


def _where(criteria: _Step) -> _Step:
    def where(focus: list[Node], root: Any) -> list[Node]:
        return [node for node in focus if _truth(criteria([node], root)) is True]

    return where


def _extension(url: str) -> _Step:
    extensions = _member("extension")

    def extension(focus: list[Node], root: Any) -> list[Node]:
        return [node for node in extensions(focus, root) if node.value.get("url") == url]

    return extension


def _truth(nodes: list[Node]) -> bool | None:
    """A collection as a boolean: None where it is empty; one value that is no boolean counts as true."""
    if len(nodes) != 1:
        return None
    return nodes[0].value is not False


def _equal(left: _Step, right: _Step, *, wanted: bool) -> _Step:
    def equal(focus: list[Node], root: Any) -> list[Node]:
        a, b = left(focus, root), right(focus, root)
        if not a or not b:
            return []
        same = [(type(one.value) is bool, one.value) for one in a] == [
            (type(one.value) is bool, one.value) for one in b
        ]
        return [Node(same is wanted)]

    return equal


def _both(left: _Step, right: _Step) -> _Step:
    def both(focus: list[Node], root: Any) -> list[Node]:
        truths = (_truth(left(focus, root)), _truth(right(focus, root)))
        if False in truths:
            return [Node(value=False)]
        return [] if None in truths else [Node(value=True)]

    return both


def _resolve(focus: list[Node], root: Any) -> list[Node]:
    """Only the type of a reference's target is known; a contained target is at hand."""
    found: list[Node] = []
    for node in focus:
        text = node.value.get("reference") if isinstance(node.value, dict) else node.value
        if isinstance(text, str) and text.startswith("#") and isinstance(root, dict):
            found += [Node(one) for one in root.get("contained", ()) if one.get("id") == text[1:]]
            continue
        type_name = referenced_type(node.value)
        if type_name is not None:
            found.append(Node({"resourceType": type_name}))
    return found


_FUNCTIONS: dict[str, _Step] = {
    "resolve": _resolve,
    "exists": lambda focus, _: [Node(bool(focus))],
    "empty": lambda focus, _: [Node(not focus)],
    "first": lambda focus, _: focus[:1],
    "not": lambda focus, _: [] if _truth(focus) is None else [Node(not _truth(focus))],
}
