"""The steps of a search-parameter expression, as closures from the elements selected so far to the next
elements.

Values are shared with the resource and must not be modified. The node of a choice element (`value[x]`) has
the type of the element that is present. `extract` composes the steps.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from broker.matching.references import has_unknown_type, referenced_type

_TYPE_OF_SUFFIX = {
    name[0].upper() + name[1:]: name
    for name in re.findall(
        r"\w+",
        """
        base64Binary boolean canonical code date dateTime decimal id instant integer integer64 markdown oid
        positiveInt string time unsignedInt uri url uuid
        Address Age Annotation Attachment Availability CodeableConcept CodeableReference Coding ContactDetail
        ContactPoint Contributor Count DataRequirement Distance Dosage Duration Expression
        ExtendedContactDetail HumanName Identifier Meta Money ParameterDefinition Period Quantity Range Ratio
        RatioRange Reference RelatedArtifact SampledData Signature Timing TriggerDefinition UsageContext
        """,
    )
}
_ANY_TYPE = "*"
"""The type of what a reference points at, if the reference does not say."""
_QUANTITIES = frozenset({"Age", "Count", "Distance", "Duration"})


class ElementNode(NamedTuple):
    """An element selected in a resource. `type` is known for choice elements only."""

    value: Any
    type: str | None = None


Step = Callable[[list[ElementNode], Any], list[ElementNode]]
"""Takes the elements selected so far and the root resource."""


def constant(value: Any) -> Step:
    nodes = [ElementNode(value)]
    return lambda _, __: nodes


def chain(first: Step, then: Step) -> Step:
    return lambda focus, root: then(first(focus, root), root)


def union(parts: list[Step]) -> Step:
    def united(focus: list[ElementNode], root: Any) -> list[ElementNode]:
        nodes: list[ElementNode] = []
        for part in parts:
            for node in part(focus, root):
                if node not in nodes:
                    nodes.append(node)
        return nodes

    return united


def of_resource(name: str) -> Step:
    """The leading type of a path. It selects nothing in a resource of another type."""
    if name in {"Resource", "DomainResource"}:
        return lambda focus, _: focus

    def of_that_type(focus: list[ElementNode], _: Any) -> list[ElementNode]:
        return [
            node for node in focus if isinstance(node.value, dict) and node.value.get("resourceType") == name
        ]

    return of_that_type


def member(name: str) -> Step:
    size = len(name)

    def choice(element: dict[str, Any]) -> list[ElementNode]:
        for key, value in element.items():
            if key.startswith(name):
                type_name = _TYPE_OF_SUFFIX.get(key[size:])
                if type_name is not None:
                    return _nodes(value, type_name)
        return []

    def members(focus: list[ElementNode], _: Any) -> list[ElementNode]:
        nodes: list[ElementNode] = []
        for node in focus:
            element = node.value
            if isinstance(element, dict):
                value = element.get(name)
                nodes += choice(element) if value is None else _nodes(value, None)
        return nodes

    return members


def _nodes(value: Any, type_name: str | None) -> list[ElementNode]:
    if isinstance(value, list):
        return [ElementNode(element, type_name) for element in value if element is not None]
    return [] if value is None else [ElementNode(value, type_name)]


def _has_type(node: ElementNode, name: str) -> bool:
    if isinstance(node.value, dict) and "resourceType" in node.value:
        return node.value["resourceType"] in {name, _ANY_TYPE}
    if node.type is None:
        return isinstance(node.value, dict) == name[0].isupper()
    # R4 writes `as(DateTime)` where the type is dateTime
    return node.type in {name, name[0].lower() + name[1:]} or (
        name == "Quantity" and node.type in _QUANTITIES
    )


def of_type(name: str) -> Step:
    return lambda focus, _: [
        node if node.type else ElementNode(node.value, name) for node in focus if _has_type(node, name)
    ]


def is_type(name: str) -> Step:
    return lambda focus, _: [ElementNode(_has_type(focus[0], name))] if len(focus) == 1 else []


def at(index: int) -> Step:
    return lambda focus, _: focus[index : index + 1]


def where(criteria: Step) -> Step:
    def selected(focus: list[ElementNode], root: Any) -> list[ElementNode]:
        return [node for node in focus if _truth(criteria([node], root)) is True]

    return selected


def extension(url: str) -> Step:
    extensions = member("extension")

    def selected(focus: list[ElementNode], root: Any) -> list[ElementNode]:
        return [node for node in extensions(focus, root) if node.value.get("url") == url]

    return selected


def _truth(nodes: list[ElementNode]) -> bool | None:
    """A collection as a boolean: None unless it has one value.

    A value that is not a boolean counts as true.
    """
    if len(nodes) != 1:
        return None
    return nodes[0].value is not False


def equal(left: Step, right: Step, *, expected: bool) -> Step:
    def compared(focus: list[ElementNode], root: Any) -> list[ElementNode]:
        left_nodes, right_nodes = left(focus, root), right(focus, root)
        if not left_nodes or not right_nodes:
            return []
        return [ElementNode((_comparable(left_nodes) == _comparable(right_nodes)) is expected)]

    return compared


def _comparable(nodes: list[ElementNode]) -> list[tuple[bool, Any]]:
    """In Python, True equals 1; in FHIRPath it does not."""
    return [(type(node.value) is bool, node.value) for node in nodes]


def both(left: Step, right: Step) -> Step:
    def joined(focus: list[ElementNode], root: Any) -> list[ElementNode]:
        truths = (_truth(left(focus, root)), _truth(right(focus, root)))
        if False in truths:
            return [ElementNode(value=False)]
        return [] if None in truths else [ElementNode(value=True)]

    return joined


def _resolve(focus: list[ElementNode], root: Any) -> list[ElementNode]:
    """The contained resource, or a resource of which only the type is known: matching does not read the
    store.
    """
    nodes: list[ElementNode] = []
    for node in focus:
        text = node.value.get("reference") if isinstance(node.value, dict) else node.value
        if isinstance(text, str) and text.startswith("#") and isinstance(root, dict):
            contained = root.get("contained", ())
            nodes += [ElementNode(resource) for resource in contained if resource.get("id") == text[1:]]
            continue
        type_name = _ANY_TYPE if has_unknown_type(node.value) else referenced_type(node.value)
        if type_name is not None:
            nodes.append(ElementNode({"resourceType": type_name}))
    return nodes


FUNCTIONS: dict[str, Step] = {
    "resolve": _resolve,
    "exists": lambda focus, _: [ElementNode(bool(focus))],
    "empty": lambda focus, _: [ElementNode(not focus)],
    "first": lambda focus, _: focus[:1],
    "not": lambda focus, _: [] if _truth(focus) is None else [ElementNode(not _truth(focus))],
}
