"""The tree of a profile's elements, by element id: a differential laid over the tree of its base.

A node has the children that some definition names, and slices, each a node of its own whose rules hold in
addition to those of the unsliced node. What no definition names has no node: the element tables of the
release say what exists, so the children of a datatype are unfolded when a path enters it. A choice of types
is one node `value[x]`; `valueQuantity` in a path is short for its slice of that type.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from broker.fhir.element_tables import NESTED, Element, ElementTable, table_of_type
from broker.model.release import Release
from broker.profiles.definitions import (
    BadDefinition,
    Discriminator,
    ElementRules,
    Slicing,
    TypeRule,
    parse_element,
)

_CHOICE = "[x]"
BY_TYPE = Slicing((Discriminator("type", "$this"),))
BY_URL = Slicing((Discriminator("value", "url"),))


@dataclass(slots=True)
class Node:
    """One element or slice. `children` are by element name, `slices` by the name of the slice."""

    rules: ElementRules = field(default_factory=ElementRules)
    children: dict[str, "Node"] = field(default_factory=dict)
    slices: dict[str, "Node"] = field(default_factory=dict)

    def copy(self) -> "Node":
        return Node(
            self.rules,
            {name: child.copy() for name, child in self.children.items()},
            {name: each.copy() for name, each in self.slices.items()},
        )

    def walk(self, element_id: str) -> Iterator[tuple[str, "Node"]]:
        """All nodes by their ids, from this one, which has the id given."""
        yield element_id, self
        for name, each in self.slices.items():
            yield from each.walk(f"{element_id}:{name}")
        for name, child in self.children.items():
            yield from child.walk(f"{element_id}.{name}")


class Step(NamedTuple):
    """One step of an element id: the element, and the names of slice and re-slices."""

    name: str
    slices: tuple[str, ...]


def find_table(release: Release, type_name: str) -> ElementTable | None:
    """The elements of a type; None for an unknown or primitive one."""
    try:
        return table_of_type(release, type_name)
    except KeyError:
        return None


def is_primitive(type_name: str) -> bool:
    return type_name[:1].islower()


def type_within(type_name: str, node: "Node") -> str:
    """The type whose elements a value has: of a primitive value those of any element, of a resource within
    another those of the only type that the profile permits.
    """
    if is_primitive(type_name):
        return "Element"
    return (_only_type(node) or type_name) if type_name == NESTED else type_name


def choice_elements(table: ElementTable | None, choice: str) -> dict[str, Element]:
    """The elements in JSON of a choice, by their names."""
    if table is None:
        return {}
    return {name: element for name, element in table.elements.items() if element.choice == choice}


def lay_over(
    base: Node, elements: Sequence[Mapping[str, Any]], release: Release, root: str, source: str
) -> Node:
    """A new tree: the base with the elements of a snapshot or differential. Raises `BadDefinition`."""
    tree, names = base.copy(), _SliceNames()
    shortened: dict[int, tuple[Node, list[str]]] = {}
    for element in elements:
        element_id = names.id_of(element)
        try:
            rules = parse_element(element, source)
            steps = parse_id(element_id, root)
            node, choice = _enter(tree, steps, release, root)
        except BadDefinition as error:
            raise BadDefinition(f"{element_id or 'an element without id and path'}: {error}") from None
        node.rules = node.rules.overlaid(rules)
        if choice is not None:
            shortened.setdefault(id(choice[0]), (choice[0], []))[1].append(choice[1])
    for node, types in shortened.values():
        _narrow(node, types)
    return tree


def _narrow(choice: Node, types: Sequence[str]) -> None:
    """A choice that is named by its type (`valueQuantity`) has only this type, as in HL7's snapshots."""
    permitted = [TypeRule(name) for name in dict.fromkeys(types)]
    if choice.rules.types is not None:
        by_code = {each.code: each for each in choice.rules.types}
        permitted = [by_code.get(each.code, each) for each in permitted]
    choice.rules = choice.rules.overlaid(ElementRules(types=tuple(permitted)))


class _SliceNames:
    """Makes ids for elements that have none: from the path, and the slices that are open at it."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}

    def id_of(self, element: Mapping[str, Any]) -> str:
        element_id, path, name = (element.get(key) or "" for key in ("id", "path", "sliceName"))
        if not all(isinstance(text, str) for text in (element_id, path, name)):
            raise BadDefinition("id, path or sliceName of an element is not a text")
        if element_id and (not name or ":" in element_id.rpartition(".")[2]):
            return str(element_id)
        for known in [each for each in self._open if each == path or each.startswith(f"{path}.")]:
            del self._open[known]
        if name:
            self._open[path] = name
        parts, steps = [], path.split(".")
        for depth, step in enumerate(steps, 1):
            slice_name = self._open.get(".".join(steps[:depth]))
            parts.append(f"{step}:{slice_name}" if slice_name else step)
        return ".".join(parts)


def parse_id(element_id: str, root: str) -> list[Step]:
    """The steps after the type. `component:a/b` is the re-slice b of the slice a."""
    if element_id.partition(".")[0] != root:
        raise BadDefinition(f"is not an element of {root}")
    steps = []
    for part in element_id.split(".")[1:]:
        name, _, slice_name = part.partition(":")
        if not name:
            raise BadDefinition("is not the id of an element")
        names = slice_name.split("/") if slice_name else []
        steps.append(Step(name, tuple("/".join(names[: depth + 1]) for depth in range(len(names)))))
    return steps


def _enter(
    tree: Node, steps: Sequence[Step], release: Release, root: str
) -> tuple[Node, tuple[Node, str] | None]:
    """The node of an id, made if it is missing. If its last step is a choice named by its type, also the
    node of the choice and the type.
    """
    node, table = tree, find_table(release, root)
    shortened: tuple[Node, str] | None = None
    for step in steps:
        name, slices, type_name = _resolve(table, step)
        parent = node = node.children.setdefault(name, Node())
        for slice_name in slices:
            node = node.slices.setdefault(slice_name, Node())
        shortened = None
        if name != step.name:
            shortened = (parent, type_name)
            parent.rules = ElementRules(slicing=BY_TYPE).overlaid(parent.rules)
        if not type_name:
            type_name = _only_type(node) or _only_type(parent)
        inner = node if node.rules.types else parent
        table = find_table(release, type_within(type_name, inner)) if type_name else None
    return node, shortened


def _resolve(table: ElementTable | None, step: Step) -> tuple[str, Sequence[str], str]:
    """The name and slices of a node, and its type, '' if it may have several or is not known."""
    name, slices = step
    if table is None:
        return name, slices, ""
    if name.endswith(_CHOICE):
        options = choice_elements(table, name.removesuffix(_CHOICE))
        if not options:
            raise BadDefinition(f"{table.type} has no choice {name}")
        return name, slices, _type_of_slice(options, slices)
    element = table.elements.get(name)
    if element is None and (table.type, name) == ("Element", "value"):
        return name, slices, ""  # the value itself of a primitive type
    if element is None:
        raise BadDefinition(f"{table.type} has no element {name}")
    if element.choice:
        return f"{element.choice}{_CHOICE}", (element.name, *slices), element.type_name
    return name, slices, element.type_name


def _only_type(node: Node) -> str:
    types = node.rules.types
    return types[0].code if types is not None and len(types) == 1 else ""


def _type_of_slice(options: Mapping[str, Element], slices: Sequence[str]) -> str:
    for name in slices:
        if name in options:
            return options[name].type_name
    return ""


def slicing_of(name: str, node: Node) -> Slicing | None:
    """How a node is sliced; extensions always by their url, choices by their type."""
    if node.rules.slicing is not None:
        return node.rules.slicing
    if name.rpartition(".")[2] in {"extension", "modifierExtension"}:
        return BY_URL
    return BY_TYPE if name.endswith(_CHOICE) else None
