"""Checks of an element by the object that has it: how often it is there, then each of its values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from broker.profiles.base_checks import Check
from broker.profiles.element_checks import Origin
from broker.profiles.found import Found
from broker.profiles.slicing import SliceItems
from broker.profiles.values import items_of

OwnerCheck = Callable[[Mapping[str, Any], str, Found], None]
"""Checks an element of an object at a path."""


class Limits(NamedTuple):
    """How often an element may be there, as far as its type does not say so; 0 is no minimum."""

    minimum: int
    maximum: int
    origin: Origin

    @property
    def too_few(self) -> str:
        return self.origin.text(
            f"at least {self.minimum} are required" if self.minimum > 1 else "is required"
        )

    @property
    def too_many(self) -> str:
        return self.origin.text(
            f"at most {self.maximum} are permitted" if self.maximum else "is not permitted"
        )


class ChoiceCardinality(NamedTuple):
    """`needed` are the elements of a choice one of which a slice requires."""

    is_required: bool
    is_forbidden: bool
    needed: Mapping[str, Origin]


def object_check(checks: Sequence[OwnerCheck]) -> Check:
    several = tuple(checks)

    def check(value: Any, path: str, found: Found) -> None:
        if value.__class__ is dict:
            for each in several:
                each(value, path, found)

    return check


def single_check(name: str, limits: Limits, check: Check | None, parts: Check | None = None) -> OwnerCheck:
    """Of an element that is no list. `parts` checks the id and extensions of a primitive value."""
    sibling, element, minimum = f"_{name}", limits.origin.element, limits.minimum
    too_few, too_many, is_forbidden = limits.too_few, limits.too_many, not limits.maximum

    def check_element(owner: Mapping[str, Any], path: str, found: Found) -> None:
        if name in owner or sibling in owner:
            if is_forbidden:
                found.add("structure", f"{path}.{name}", too_many, element=element)
            if check is not None:
                check(owner.get(name), f"{path}.{name}", found)
            if parts is not None:
                parts(owner.get(sibling) or {}, f"{path}.{name}", found)
        elif minimum:
            found.add("required", f"{path}.{name}", too_few, element=element)

    return check_element


def list_check(
    name: str,
    limits: Limits,
    check: Check | None,
    slices: SliceItems | None,
    parts: Check | None = None,
) -> OwnerCheck:
    """Of an element that is a list, and of its slices. `parts` checks the id and extensions of a primitive
    value.
    """
    sibling, element = f"_{name}", limits.origin.element
    minimum, maximum = limits.minimum, limits.maximum
    too_few, too_many = limits.too_few, limits.too_many

    def check_elements(owner: Mapping[str, Any], path: str, found: Found) -> None:
        values: Sequence[Any] = owner.get(name, ())
        if sibling in owner or values.__class__ is not list:
            values = items_of(owner, name) if name in owner or sibling in owner else ()
        if len(values) < minimum:
            found.add("required", f"{path}.{name}", too_few, element=element)
        elif len(values) > maximum:
            at = f"{path}.{name}[{maximum}]" if maximum else f"{path}.{name}"
            found.add("structure", at, too_many, element=element)
        if check is not None:
            for n, value in enumerate(values):
                check(value, f"{path}.{name}[{n}]", found)
        if parts is not None:
            siblings = owner.get(sibling, ())
            for n in range(len(values)):
                parts((siblings[n] if n < len(siblings) else None) or {}, f"{path}.{name}[{n}]", found)
        if slices is not None:
            slices([(value, f"{path}.{name}[{n}]") for n, value in enumerate(values)], path, found)

    return check_elements


def choice_check(
    choice: str,
    options: frozenset[str],
    checks: Mapping[str, Check],
    parts: Mapping[str, Check],
    cardinality: ChoiceCardinality,
    origin: Origin,
) -> OwnerCheck:
    """Of a choice of types. `checks` are by the name of the element that is there, and so are `parts`, of the
    id and extensions of a primitive value.
    """
    is_required, is_forbidden, needed = cardinality
    names = {each: name for name in options for each in (name, f"_{name}")}
    required, forbidden = origin.text("is required"), origin.text("is not permitted")

    def check_choice(owner: Mapping[str, Any], path: str, found: Found) -> None:
        name = ""
        for each in owner:
            if each in names:
                name = names[each]
                break
        if needed and name not in needed:
            first, first_origin = next(iter(needed.items()))
            found.add("required", f"{path}.{first}", required, element=first_origin.element)
        elif not name and is_required:
            found.add("required", f"{path}.{choice}", required, element=origin.element)
        if not name:
            return
        if is_forbidden:
            found.add("structure", f"{path}.{name}", forbidden, element=origin.element)
        check = checks.get(name)
        if check is not None:
            check(owner.get(name), f"{path}.{name}", found)
        if name in parts:
            parts[name](owner.get(f"_{name}") or {}, f"{path}.{name}", found)

    return check_choice
