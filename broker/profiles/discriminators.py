"""Discriminators, compiled to a predicate for each slice: whether an item belongs to it.

A path with several values matches if any of them does. A discriminator that says nothing that can be decided
here has no predicate; its slice is not checked.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from broker.profiles.base_checks import Check, target_type
from broker.profiles.coded_values import membership
from broker.profiles.definitions import Discriminator
from broker.profiles.discriminator_paths import (
    EXTENSION,
    OF_TYPE,
    RESOLVE,
    Walk,
    compile_path,
    steps_of,
)
from broker.profiles.found import Found
from broker.profiles.profile_checks import TargetProfile, first_failure, meets_any
from broker.profiles.trees import Node
from broker.profiles.value_sets import ValueSets
from broker.profiles.values import children, is_equal, matcher

Predicate = Callable[[Any, Found], bool]


class Profiles(Protocol):
    """Other profiles, as discriminators need them (`library.ProfileLibrary`)."""

    def tree(self, url: str) -> Node | None:
        """The tree of a profile; None for an unknown one."""
        ...

    def check(self, url: str) -> Check | None:
        """The compiled profile; None for an unknown one, or one that says nothing."""
        ...

    def target_types(self, url: str) -> Sequence[str] | None:
        """The types that a profile is for; None if that is not known."""
        ...


class Discriminating:
    """Makes the predicate of a slice from its discriminators."""

    def __init__(self, value_sets: ValueSets, profiles: Profiles) -> None:
        self._value_sets = value_sets
        self._profiles = profiles

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
        if discriminator.kind == "profile":
            return self._by_profile(targets, steps)
        if discriminator.kind == "type":
            return self._by_target_type(targets, steps) if RESOLVE in steps else _by_type(targets, steps)
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

    def _by_target_type(self, targets: Sequence[Node], steps: Sequence[str]) -> Predicate | None:
        """By the type of the resource that a reference names, which its URL shows."""
        urls = [url for target in targets for rule in target.rules.types or () for url in rule.targets]
        names = {name for url in urls for name in self._profiles.target_types(url) or ()}
        if not names:
            return None
        walk = compile_path([step for step in steps if step != RESOLVE])

        def predicate(value: Any, found: Found) -> bool:
            return any(target_type(each, found) in names for each in walk(value, found))

        return predicate

    def _by_profile(self, targets: Sequence[Node], steps: Sequence[str]) -> Predicate | None:
        """By the profile that a value meets, or the target of a reference. Of a target elsewhere only
        the type is known.
        """
        rules = [rule for target in targets for rule in target.rules.types or ()]
        references = [self._profile(url) for rule in rules for url in rule.targets]
        values = [self._profile(url) for rule in rules for url in rule.profiles]
        if not references and not values:
            return None
        walk = compile_path([step for step in steps if step != RESOLVE])

        def predicate(value: Any, found: Found) -> bool:
            for each in walk(value, found):
                if values and _meets_profile(values, each, found):
                    return True
                if references and _is_target_of(references, each, found):
                    return True
            return False

        return predicate

    def _profile(self, url: str) -> TargetProfile:
        return TargetProfile(
            url, tuple(self._profiles.target_types(url) or ()), lambda: self._profiles.check(url)
        )

    def _criterion(self, node: Node) -> Callable[[Any], bool] | None:
        """What a value must be by the fixed value, pattern or required binding of a node or those below."""
        if node.rules.fixed is not None:
            fixed = node.rules.fixed.value
            if isinstance(fixed, str):
                return lambda value: bool(value == fixed)  # `__eq__` of None is not false
            return lambda value: is_equal(value, fixed)
        if node.rules.pattern is not None:
            return matcher(node.rules.pattern.value)
        if node.rules.binding is not None and node.rules.binding.required:
            codes = self._value_sets.codes(node.rules.binding.required[0])
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
            if OF_TYPE.fullmatch(step):
                continue
            if step == RESOLVE:
                urls = {url for each in current for rule in each.rules.types or () for url in rule.targets}
                trees = [tree for url in sorted(urls) if (tree := self._profiles.tree(url)) is not None]
                current = [*current, *trees]
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
            trees = [tree for url in profiles if (tree := self._profiles.tree(url)) is not None]
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


def _existence(targets: Sequence[Node], steps: Sequence[str]) -> Predicate | None:
    """Whether there is a value at all: the slice says that one is required, or that none is permitted."""
    walk = compile_path(steps)
    if any(target.rules.max == 0 for target in targets):
        return lambda value, found: not walk(value, found)
    if any(target.rules.min for target in targets):
        return lambda value, found: bool(walk(value, found))
    return None


def _by_type(targets: Sequence[Node], steps: Sequence[str]) -> Predicate | None:
    """By the type of a value: of a resource, or of a choice, whose element is named by the type."""
    names = {rule.code for target in targets for rule in target.rules.types or ()}
    if not names:
        return None
    if not steps:
        return lambda value, _found: type_of(value) in names
    walk, last = compile_path(steps[:-1]), steps[-1].removesuffix("[x]")
    elements = {last, *(f"{last}{name[:1].upper()}{name[1:]}" for name in names)}

    def predicate(value: Any, found: Found) -> bool:
        for owner in walk(value, found):
            present = elements.intersection(owner) if isinstance(owner, dict) else ()
            if any(name != last or type_of(owner[name]) in {"", *names} for name in present):
                return True
        return False

    return predicate


def type_of(value: Any) -> str:
    """The type of a resource; '' for other values, whose type their element says."""
    name = value.get("resourceType") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


def _meets_profile(profiles: Sequence[TargetProfile], value: Any, found: Found) -> bool:
    """Whether a resource, or a value of another type, meets one of the profiles."""
    if not type_of(value):
        return first_failure([each.compile for each in profiles], value, "", found) is None
    matching = [each for each in profiles if type_of(value) in each.types]
    return bool(matching) and meets_any(matching, value, "", found)


def _is_target_of(profiles: Sequence[TargetProfile], reference: Any, found: Found) -> bool:
    name = target_type(reference, found)
    matching = [each for each in profiles if name in each.types]
    target = found.target(reference)
    return bool(matching) and (target is None or meets_any(matching, target, "", found))
