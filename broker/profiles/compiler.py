"""Compiles the tree of a profile to one closure. Elements without a rule of the profile cost nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from broker.fhir.element_tables import Element, ElementTable
from broker.model.release import Release
from broker.profiles.base_checks import Check, CompileInvariant
from broker.profiles.definitions import UNBOUNDED, ElementRules
from broker.profiles.discriminators import Discriminating, Predicate
from broker.profiles.element_checks import (
    Origin,
    all_of,
    fixed_check,
    forbidden_check,
    length_check,
    limit_check,
    pattern_check,
)
from broker.profiles.found import Found
from broker.profiles.owner_checks import (
    ChoiceCardinality,
    Limits,
    OwnerCheck,
    choice_check,
    list_check,
    object_check,
    single_check,
)
from broker.profiles.slicing import (
    DEFAULT_SLICE,
    CompiledSlice,
    SliceItems,
    maximum_of,
    never,
    slicing_check,
)
from broker.profiles.trees import (
    Node,
    choice_elements,
    find_table,
    is_primitive,
    slicing_of,
    type_within,
)
from broker.profiles.value_rules import Library, ValueRules
from broker.profiles.value_sets import ValueSets
from broker.profiles.values import plain


class Place(NamedTuple):
    """Where the children of a node are.

    `table` has the elements of its type, if that is known. `element` is its id in the profile, `path` what
    FHIRPath calls it: the type of the value, or the path of a part of the resource of the type `root`.
    """

    table: ElementTable | None
    element: str
    path: str
    root: str

    def below(self, name: str, type_name: str, table: ElementTable | None, label: str = "") -> "Place":
        is_part = table is not None and type_name != self.root and type_name.startswith(self.root)
        path = f"{self.path}.{name}" if is_part or not type_name else type_name
        return Place(table, f"{self.element}.{label or name}", path, self.root)


class ProfileCompiler:
    """Compiles the profiles of one release."""

    def __init__(
        self,
        release: Release,
        library: Library,
        value_sets: ValueSets,
        compile_invariant: CompileInvariant,
        *,
        is_strict: bool = False,
    ) -> None:
        self._release = release
        self._rules = ValueRules(release, library, value_sets, compile_invariant, is_strict=is_strict)
        self.discriminating = Discriminating(value_sets, library)

    @property
    def unchecked(self) -> Sequence[str]:
        """The rules that could not be compiled, and why."""
        return self._rules.unchecked

    def compile(self, tree: Node, root: str, name: str) -> Check | None:
        """The check of a value of the type `root` against the profile of that name."""
        place = Place(find_table(self._release, root), root, root, root)
        compiler = _TreeCompiler(self._release, self._rules, self.discriminating, tree, name)
        check = compiler.value(tree, root, place)
        parts = tree.children.get("extension")
        if root != "Extension" or parts is None or not parts.slices:
            return check
        return all_of([*([check] if check else []), parts_check(parts, Origin(name, "Extension.extension"))])


class _TreeCompiler:
    """Compiles one tree."""

    def __init__(
        self,
        release: Release,
        rules: ValueRules,
        discriminating: Discriminating,
        tree: Node,
        profile: str,
    ) -> None:
        self._release = release
        self._rules = rules
        self._discriminating = discriminating
        self._tree = tree
        self._profile = profile

    def value(self, node: Node, type_name: str, place: Place) -> Check | None:
        """All that a node says about one value of it that has the type; None if that is nothing."""
        rules, origin = node.rules, Origin(self._profile, place.element)
        checks: list[Check] = []
        if rules.fixed is not None:
            checks.append(fixed_check(plain(rules.fixed.value), origin))
        if rules.pattern is not None:
            checks.append(pattern_check(rules.pattern.value, origin))
        if rules.max_length is not None:
            checks.append(length_check(rules.max_length, origin))
        for limit, is_minimum in ((rules.min_value, True), (rules.max_value, False)):
            if limit is not None:
                checks.append(limit_check(plain(limit.value), origin, is_minimum=is_minimum))
        checks += self._rules.checks(rules, type_name, place.path, origin)
        children = None if is_primitive(type_name) else self._children(node, place)
        if children is not None:
            checks.append(children)
        elif rules.content is not None:
            checks.append(self._referenced(rules.content, place))
        return all_of(checks)

    def _referenced(self, content: str, place: Place) -> Check:
        """The children of an element that is defined like another one; compiled when one is met."""
        compiled: list[Check | None] = []

        def check(value: Any, path: str, found: Found) -> None:
            if not compiled:
                node: Node | None = self._tree
                for name in content.partition("#")[2].split(".")[1:]:
                    node = node.children.get(name) if node is not None else None
                compiled.append(None if node is None else self._children(node, place))
            if compiled[0] is not None:
                compiled[0](value, path, found)

        return check

    def _children(self, node: Node, place: Place) -> Check | None:
        checks = [
            check
            for name, child in node.children.items()
            if (check := self._child(name, child, place)) is not None
        ]
        if not checks:
            return None
        return object_check(checks)

    def _child(self, name: str, node: Node, place: Place) -> OwnerCheck | None:
        if name.endswith("[x]"):
            return self._choice(name.removesuffix("[x]"), node, place)
        element = place.table.elements.get(name) if place.table is not None else None
        if element is None and place.table is not None:
            return None  # of another type of a choice
        if element is not None:
            type_name = element.type_name
        else:
            type_name = node.rules.types[0].code if node.rules.types else ""
        inner = place.below(name, type_name, self._table(type_name, node))
        check = self.value(node, type_name, inner)
        parts = self._children(node, inner) if is_primitive(type_name) else None
        slices = self._slices(name, node, type_name, inner)
        minimum, maximum = self._cardinality(node.rules, element)
        if not (check or parts or slices or minimum) and maximum >= UNBOUNDED:
            return None
        limits = Limits(minimum, maximum, Origin(self._profile, inner.element))
        if element is None or element.is_list:
            return list_check(name, limits, check, slices, parts)
        return single_check(name, limits, check, parts)

    def _table(self, type_name: str, node: Node) -> ElementTable | None:
        return find_table(self._release, type_within(type_name, node))

    @staticmethod
    def _cardinality(rules: ElementRules, element: Element | None) -> tuple[int, int]:
        """How often an element may be there, as far as its type does not say so already."""
        minimum = rules.min or 0
        maximum = UNBOUNDED if rules.max is None else rules.max
        if element is not None:
            minimum = minimum if minimum > element.is_required else 0
            maximum = maximum if element.is_list or not maximum else UNBOUNDED
        return minimum, maximum

    def _slices(self, name: str, node: Node, type_name: str, place: Place) -> SliceItems | None:
        slicing = slicing_of(name, node)
        if slicing is None or not node.slices:
            return None
        compiled = []
        for slice_name, each in node.slices.items():
            predicate: Predicate | None = never
            if slice_name != DEFAULT_SLICE:
                predicate = self._discriminating.predicate(each, node, slicing.discriminators)
            if predicate is None:
                self._rules.unchecked.append(
                    f"{place.element}:{slice_name}: its discriminator is not supported"
                )
                continue
            inner = place._replace(element=f"{place.element}:{slice_name}")
            compiled.append(
                CompiledSlice(
                    slice_name,
                    predicate,
                    each.rules.min or 0,
                    maximum_of(each),
                    self.value(each, type_name, inner),
                    self._slices(name, each, type_name, inner) if each.slices else None,
                    Origin(self._profile, inner.element),
                )
            )
        is_open_only = slicing.rules == "open" and not slicing.is_ordered
        if not compiled or (is_open_only and not any(_says_something(each) for each in compiled)):
            return None
        return slicing_check(slicing, compiled, name.rpartition(".")[2], Origin(self._profile, place.element))

    def _choice(self, choice: str, node: Node, place: Place) -> OwnerCheck | None:
        """A choice of types: one element of several names."""
        options = choice_elements(place.table, choice)
        if place.table is None or not options:
            return None
        label = f"{choice}[x]"
        origin = Origin(self._profile, f"{place.element}.{label}")
        checks: dict[str, Check] = {}
        parts: dict[str, Check] = {}
        needed: dict[str, Origin] = {}
        for name, element in options.items():
            inner = place.below(name, element.type_name, self._table(element.type_name, node), label)
            slices = {
                each_name: each
                for each_name, each in node.slices.items()
                if _is_of_type(each_name, each, name, element.type_name)
            }
            check = self._option(node, slices, element.type_name, inner)
            if check is not None:
                checks[name] = check
            if is_primitive(element.type_name):
                found = [self._children(each, inner) for each in (node, *slices.values())]
                own_parts = all_of([each for each in found if each is not None])
                if own_parts is not None:
                    parts[name] = own_parts
            for each_name, each in slices.items():
                if each.rules.min:
                    needed[name] = Origin(self._profile, f"{inner.element}:{each_name}")
        is_required = bool(node.rules.min) and choice not in place.table.required_choices
        if not (is_required or node.rules.max == 0 or needed or checks or parts):
            return None
        cardinality = ChoiceCardinality(is_required, node.rules.max == 0, needed)
        return choice_check(choice, frozenset(options), checks, parts, cardinality, origin)

    def _option(self, node: Node, slices: Mapping[str, Node], type_name: str, place: Place) -> Check | None:
        """What holds for a value of one type: the rules of the choice, and of the slices of this type."""
        if node.rules.types is not None and all(each.code != type_name for each in node.rules.types):
            return forbidden_check(
                f"the type {type_name} is not permitted", Origin(self._profile, place.element)
            )
        checks = [self.value(node, type_name, place)]
        for slice_name, each in slices.items():
            inner = place._replace(element=f"{place.element}:{slice_name}")
            if each.rules.max == 0:
                origin = Origin(self._profile, inner.element)
                checks.append(forbidden_check(f"the type {type_name} is not permitted", origin))
            checks.append(self.value(each, type_name, inner))
        return all_of([each for each in checks if each is not None])


def parts_check(parts: Node, origin: Origin) -> Check:
    """An extension has no parts but those that its definition names; a part with an absolute URL is another
    extension.
    """
    urls = {
        each.children["url"].rules.fixed.value
        for each in parts.slices.values()
        if "url" in each.children and each.children["url"].rules.fixed is not None
    }
    text = origin.text("the definition of the extension names no such part")

    def check(value: Any, path: str, found: Found) -> None:
        for n, part in enumerate(value.get("extension", ())):
            url = part.get("url") if isinstance(part, dict) else None
            if isinstance(url, str) and ":" not in url and url not in urls:
                found.add("structure", f"{path}.extension[{n}].url", text, element=origin.element)

    return check


def _says_something(each: CompiledSlice) -> bool:
    return bool(each.minimum or each.maximum < UNBOUNDED or each.check or each.inner)


def _is_of_type(slice_name: str, node: Node, element_name: str, type_name: str) -> bool:
    if node.rules.types is not None:
        return any(each.code == type_name for each in node.rules.types)
    return slice_name == element_name
