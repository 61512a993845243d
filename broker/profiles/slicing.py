"""Slices: which items of a list belong to which slice, and what follows from it.

Discriminators are compiled to a predicate for each slice. A path with several values matches if any of them
does. A slice whose discriminators say nothing that can be decided here is not checked.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from broker.profiles.base_checks import Check, target_type
from broker.profiles.bindings import membership
from broker.profiles.definitions import UNBOUNDED, Discriminator, Slicing
from broker.profiles.discriminator_paths import (
    EXTENSION,
    OF_TYPE,
    RESOLVE,
    Walk,
    compile_path,
    steps_of,
)
from broker.profiles.element_checks import Origin
from broker.profiles.found import Found
from broker.profiles.trees import Node
from broker.profiles.value_sets import ValueSets
from broker.profiles.values import children, is_equal, matcher
from broker.profiles.vital_signs import US_CORE_TARGETS

Predicate = Callable[[Any, Found], bool]
Item = tuple[Any, str]
"""A value and its path."""
SliceItems = Callable[[Sequence[Item], str, Found], None]
DEFAULT_SLICE = "@default"


class CompiledSlice(NamedTuple):
    """One slice: its items, how many it needs and may have, their check, and the slices within it."""

    name: str
    matches: Predicate
    minimum: int
    maximum: int
    check: Check | None
    inner: SliceItems | None
    origin: Origin


def slicing_check(
    slicing: Slicing, slices: Sequence[CompiledSlice], element: str, origin: Origin
) -> SliceItems:
    """Sorts the items of a list into slices. `element` is the name of the list."""
    named = [each for each in slices if each.name != DEFAULT_SLICE]
    default = next((each for each in slices if each.name == DEFAULT_SLICE), None)
    is_closed, at_end = slicing.rules == "closed", slicing.rules == "openAtEnd"

    def check(items: Sequence[Item], path: str, found: Found) -> None:
        members: dict[str, list[Item]] = {each.name: [] for each in slices}
        last, is_open = -1, False
        for value, item_path in items:
            positions = [n for n, each in enumerate(named) if each.matches(value, found)]
            if not positions:
                is_open = True
                if is_closed and default is None:
                    text = origin.text("the item belongs to no slice, and no other is permitted")
                    found.add("structure", item_path, text, element=origin.element)
                elif default is not None:
                    members[DEFAULT_SLICE].append((value, item_path))
                continue
            if len(positions) > 1:
                names = " and ".join(named[n].name for n in positions)
                text = origin.text(f"the item belongs to several slices: {names}")
                found.add("structure", item_path, text, element=origin.element)
            first = positions[0]
            if (slicing.is_ordered and first < last) or (at_end and is_open):
                text = origin.text(f"the item of slice {named[first].name} is not in its place")
                found.add("structure", item_path, text, element=origin.element)
            last = max(last, first)
            members[named[first].name].append((value, item_path))
        for each in slices:
            _check_slice(each, members[each.name], f"{path}.{element}", found)

    return check


def _check_slice(each: CompiledSlice, items: Sequence[Item], path: str, found: Found) -> None:
    if len(items) < each.minimum:
        text = each.origin.text(f"the slice {each.name} needs {each.minimum}, and has {len(items)}")
        found.add("required", path, text, element=each.origin.element)
    elif len(items) > each.maximum:
        text = each.origin.text(f"the slice {each.name} may have {each.maximum}, and has {len(items)}")
        found.add("structure", items[each.maximum][1], text, element=each.origin.element)
    if each.check is not None:
        for value, item_path in items:
            each.check(value, item_path, found)
    if each.inner is not None:
        each.inner(items, path.rpartition(".")[0], found)


def never(_value: Any, _found: Found) -> bool:
    """The predicate of the default slice, which has what belongs to no other."""
    return False


def maximum_of(node: Node) -> int:
    return UNBOUNDED if node.rules.max is None else node.rules.max


class Discriminating:
    """Makes the predicate of a slice from its discriminators. `find_tree` gives the tree of a profile."""

    def __init__(self, value_sets: ValueSets, find_tree: Callable[[str], Node | None]) -> None:
        self._value_sets = value_sets
        self._find_tree = find_tree

    def predicate(
        self, node: Node, unsliced: Node, discriminators: Sequence[Discriminator]
    ) -> Predicate | None:
        """None if a discriminator cannot be decided."""
        parts = [self._discriminator(node, unsliced, each) for each in discriminators]
        decided = [part for part in parts if part is not None]
        if not decided or len(decided) < len(parts):
            return None
        if len(decided) == 1:
            return decided[0]
        first, *others = decided
        return lambda value, found: first(value, found) and all(part(value, found) for part in others)

    def _discriminator(self, node: Node, unsliced: Node, discriminator: Discriminator) -> Predicate | None:
        steps = steps_of(discriminator.path)
        if discriminator.kind == "value" and steps == ["url"]:
            return self._url(node)
        targets = self._at(node, steps) or self._at(unsliced, steps)
        if discriminator.kind in {"type", "profile"}:
            return _by_type(targets, steps, is_target=RESOLVE in steps or discriminator.kind == "profile")
        if discriminator.kind == "exists":
            return _existence(targets, steps)
        criteria = [each for target in targets if (each := self._criterion(target)) is not None]
        if not criteria:
            return _existence(targets, steps)
        return _meets(criteria, compile_path(steps))

    def _url(self, node: Node) -> Predicate | None:
        """Extensions are told apart by their url: that of the profile, or a fixed one."""
        urls: set[Any] = set()
        for each in node.rules.types or ():
            urls.update(profile.partition("|")[0] for profile in each.profiles)
        child = node.children.get("url")
        if child is not None and child.rules.fixed is not None:
            urls = {child.rules.fixed.value}
        if not urls:
            return None
        return lambda value, _found: isinstance(value, dict) and value.get("url") in urls

    def _criterion(self, node: Node) -> Callable[[Any], bool] | None:
        """What a value must be by the fixed value, pattern or required binding of a node or those below."""
        if node.rules.fixed is not None:
            fixed = node.rules.fixed.value
            if isinstance(fixed, str):
                return lambda value: bool(value == fixed)  # `__eq__` of None is not false
            return lambda value: is_equal(value, fixed)
        if node.rules.pattern is not None:
            return matcher(node.rules.pattern.value)
        if node.rules.binding is not None and node.rules.binding.strength == "required":
            codes = self._value_sets.codes(node.rules.binding.value_set)
            return None if codes is None else membership(codes)
        parts = [
            (name, criterion)
            for name, child in _specific_children(node)
            if (criterion := self._criterion(child)) is not None
        ]
        if not parts:
            return None
        return lambda value: all(any(part(each) for each in children(value, name)) for name, part in parts)

    def _at(self, node: Node, steps: Sequence[str]) -> Sequence[Node]:
        """The nodes at the path below a slice: also in required slices, and in the profile of a datatype."""
        current = [node]
        for step in steps:
            if step == RESOLVE or OF_TYPE.fullmatch(step):
                continue
            extension = EXTENSION.fullmatch(step)
            name = "extension" if extension else step
            found = [child for each in current for child in self._children(each, name)]
            if extension:
                found = [each for child in found for each in _with_url(child, extension[1])]
            current = found
        return current

    def _children(self, node: Node, name: str) -> Sequence[Node]:
        names = (name, f"{name}[x]")
        found = [node.children[each] for each in names if each in node.children]
        if not found:
            profiles = [url for each in node.rules.types or () for url in each.profiles]
            trees = [tree for url in profiles if (tree := self._find_tree(url)) is not None]
            found = [tree.children[each] for tree in trees for each in names if each in tree.children]
        sliced = [
            each for child in found for each in child.slices.values() if each.rules.min or child.rules.types
        ]
        return [*found, *sliced]


def _with_url(node: Node, url: str) -> Sequence[Node]:
    """The slices of extensions that have the URL."""
    return [
        each for each in node.slices.values() if any(url in rule.profiles for rule in each.rules.types or ())
    ]


def _specific_children(node: Node) -> Sequence[tuple[str, Node]]:
    """The children of a node with those of their slices that are required."""
    found: list[tuple[str, Node]] = []
    for name, child in node.children.items():
        bare = name.removesuffix("[x]")
        found.append((bare, child))
        found.extend((bare, each) for each in child.slices.values() if each.rules.min)
    return found


def _meets(criteria: Sequence[Callable[[Any], bool]], walk: Walk) -> Predicate:
    """Each criterion is met by one of the values."""
    if len(criteria) > 1:
        return lambda value, found: all(
            any(criterion(each) for each in walk(value, found)) for criterion in criteria
        )
    criterion = criteria[0]

    def predicate(value: Any, found: Found) -> bool:
        for each in walk(value, found):  # noqa: SIM110 a generator would cost more than the rest
            if criterion(each):
                return True
        return False

    return predicate


def _by_type(targets: Sequence[Node], steps: Sequence[str], *, is_target: bool) -> Predicate | None:
    """By the type of the value, or of the resource that a reference names: of another resource only the type
    is known.
    """
    types = [rule for target in targets for rule in target.rules.types or ()]
    names = {each.code for each in types}
    if is_target:
        names = {url.partition("|")[0].rpartition("/")[2] for each in types for url in each.targets}
        names |= {US_CORE_TARGETS[each] for each in names if each in US_CORE_TARGETS}
    if not names:
        return None
    walk = compile_path([step for step in steps if step != RESOLVE])

    def predicate(value: Any, found: Found) -> bool:
        for each in walk(value, found):
            actual = target_type(each, found) if is_target else type_of(each)
            if actual in names:
                return True
        return False

    return predicate


def type_of(value: Any) -> str:
    """The type of a resource; '' for other values, whose type the element of a choice says."""
    name = value.get("resourceType") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


def _existence(targets: Sequence[Node], steps: Sequence[str]) -> Predicate | None:
    """Whether there is a value at all: the slice says that one is required, or that none is permitted."""
    walk = compile_path(steps)
    if any(target.rules.max == 0 for target in targets):
        return lambda value, found: not walk(value, found)
    if any(target.rules.min for target in targets):
        return lambda value, found: bool(walk(value, found))
    return None
