"""The steps of a search-parameter expression, as closures from elements found so far to those found next.

Values are shared with the resource and nobody may change them. A choice element (`value[x]`) tells the type it was given in.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from broker.matching.fhirpath import referenced_type

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


class Node(NamedTuple):
    """An element found in a resource; `type` is known for choice elements only."""

    value: Any
    type: str | None = None


Step = Callable[[list[Node], Any], list[Node]]
"""Takes what was found so far and the root resource."""


def constant(value: Any) -> Step:
    nodes = [Node(value)]
    return lambda _, __: nodes


def chain(first: Step, then: Step) -> Step:
    return lambda focus, root: then(first(focus, root), root)


def union(parts: list[Step]) -> Step:
    def united(focus: list[Node], root: Any) -> list[Node]:
        found: list[Node] = []
        for part in parts:
            for node in part(focus, root):
                if node not in found:
                    found.append(node)
        return found

    return united


def of_resource(name: str) -> Step:
    """The leading type of a path: parts of a union for other types give nothing."""
    if name in {"Resource", "DomainResource"}:
        return lambda focus, _: focus

    def of_that_type(focus: list[Node], _: Any) -> list[Node]:
        return [
            node for node in focus if isinstance(node.value, dict) and node.value.get("resourceType") == name
        ]

    return of_that_type


def member(name: str) -> Step:
    size = len(name)

    def choice(element: dict[str, Any]) -> list[Node]:
        for key, value in element.items():
            if key.startswith(name):
                type_name = _TYPE_OF_SUFFIX.get(key[size:])
                if type_name is not None:
                    return _nodes(value, type_name)
        return []

    def members(focus: list[Node], _: Any) -> list[Node]:
        found: list[Node] = []
        for node in focus:
            element = node.value
            if isinstance(element, dict):
                value = element.get(name)
                found += choice(element) if value is None else _nodes(value, None)
        return found

    return members


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


def of_type(name: str) -> Step:
    return lambda focus, _: [
        node if node.type else Node(node.value, name) for node in focus if _has_type(node, name)
    ]


def is_type(name: str) -> Step:
    return lambda focus, _: [Node(_has_type(focus[0], name))] if len(focus) == 1 else []


def at(index: int) -> Step:
    return lambda focus, _: focus[index : index + 1]


def where(criteria: Step) -> Step:
    def those(focus: list[Node], root: Any) -> list[Node]:
        return [node for node in focus if _truth(criteria([node], root)) is True]

    return those


def extension(url: str) -> Step:
    extensions = member("extension")

    def those(focus: list[Node], root: Any) -> list[Node]:
        return [node for node in extensions(focus, root) if node.value.get("url") == url]

    return those


def _truth(nodes: list[Node]) -> bool | None:
    """A collection as a boolean: None where it is empty; one value that is no boolean counts as true."""
    if len(nodes) != 1:
        return None
    return nodes[0].value is not False


def equal(left: Step, right: Step, *, wanted: bool) -> Step:
    def compared(focus: list[Node], root: Any) -> list[Node]:
        a, b = left(focus, root), right(focus, root)
        if not a or not b:
            return []
        same = [(type(one.value) is bool, one.value) for one in a] == [
            (type(one.value) is bool, one.value) for one in b
        ]
        return [Node(same is wanted)]

    return compared


def both(left: Step, right: Step) -> Step:
    def joined(focus: list[Node], root: Any) -> list[Node]:
        truths = (_truth(left(focus, root)), _truth(right(focus, root)))
        if False in truths:
            return [Node(value=False)]
        return [] if None in truths else [Node(value=True)]

    return joined


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


FUNCTIONS: dict[str, Step] = {
    "resolve": _resolve,
    "exists": lambda focus, _: [Node(bool(focus))],
    "empty": lambda focus, _: [Node(not focus)],
    "first": lambda focus, _: focus[:1],
    "not": lambda focus, _: [] if _truth(focus) is None else [Node(not _truth(focus))],
}
