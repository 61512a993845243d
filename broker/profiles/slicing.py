"""Slices: which items of a list belong to which slice, and what follows from it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from broker.profiles.base_checks import Check
from broker.profiles.definitions import UNBOUNDED, Slicing
from broker.profiles.discriminators import Predicate
from broker.profiles.element_checks import Origin
from broker.profiles.found import Found
from broker.profiles.trees import Node

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
