"""The vocabulary of conversion rules, and the builders that the tables of rules use.

A rule relates elements of R4 and R4B, which are alike here and called `r4`, to elements of R5, with a
translation in each direction. A rule may lose something: the engine translates each result back, and where
that does not give the source elements, it keeps them in the standard cross-version extensions. So a rule only
says what a reader of the target release should find.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.model.release import Release

JsonElement = dict[str, Any]
"""A JSON object: a resource or an element of one.

Each number in it is a `msgspec.Raw`, which keeps its spelling.
"""

Translation = Callable[[JsonElement], JsonElement]
"""The elements of a rule in one release -> those in the other."""

CodeTranslation = Callable[[str], str | None]
"""A code in one release -> the code in the other, None where the other has none."""

ABSENT_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class NotConvertible(Exception):  # noqa: N818 reads as what the instance is; never leaves the package
    """The resource holds something that the target release can't express."""


@dataclass(frozen=True, slots=True)
class Direction:
    """From one release to another."""

    source: Release
    target: Release

    @property
    def to_r5(self) -> bool:
        return self.target is Release.R5 and self.source is not Release.R5

    @property
    def to_r4(self) -> bool:
        return self.source is Release.R5 and self.target is not Release.R5


@dataclass(frozen=True, slots=True)
class ElementDefinition:
    """An element: its name without `[x]`, its possible types, whether it repeats."""

    name: str
    types: tuple[str, ...]
    repeats: bool
    is_choice: bool

    def members(self) -> tuple[tuple[str, str], ...]:
        """The JSON members it may have, each with its type."""
        if not self.is_choice:
            return ((self.name, self.types[0]),)
        return tuple((self.name + capitalized(type_name), type_name) for type_name in self.types)


@dataclass(frozen=True, slots=True)
class ElementRule:
    """Elements that are translated together.

    `to_r5` and `to_r4` receive these elements alone, with their `_` siblings, and return those of the other
    release.
    """

    r4: tuple[ElementDefinition, ...]
    r5: tuple[ElementDefinition, ...]
    to_r5: Translation
    to_r4: Translation
    alternatives: tuple[str, ...] = ()
    """Prefixes of member names: if the target has such a member, none of the elements is restored."""


@dataclass(frozen=True, slots=True)
class CodeRule:
    """A code element of the same name in both.

    Where a release has no word for a code, only the extension stays.
    """

    name: str
    to_r5: CodeTranslation
    to_r4: CodeTranslation


@dataclass(frozen=True, slots=True)
class TypeRules:
    """A type or backbone element by its path in each release, and the rules for its elements."""

    r4: str
    r5: str
    rules: tuple[ElementRule | CodeRule, ...] = ()


def capitalized(name: str) -> str:
    return name[0].upper() + name[1:]


def elements(text: str) -> tuple[ElementDefinition, ...]:
    """Reads `use:CodeableConcept* value[x]:string|Quantity`; `*` marks an element that repeats."""
    definitions = []
    for word in text.split():
        name, _, types = word.partition(":")
        type_names = tuple(types.removesuffix("*").split("|"))
        definitions.append(
            ElementDefinition(
                name.removesuffix("[x]"),
                type_names,
                repeats=types.endswith("*"),
                is_choice=name.endswith("[x]"),
            )
        )
    return tuple(definitions)


def renamed(r4_name: str, r5_name: str, type_name: str) -> ElementRule:
    """The same element under another name; `type_name` as in `elements`, e.g. `Reference*`."""
    return ElementRule(
        elements(f"{r4_name}:{type_name}"),
        elements(f"{r5_name}:{type_name}"),
        _renaming(r4_name, r5_name),
        _renaming(r5_name, r4_name),
    )


def only_in_r5(text: str, *, alternatives: tuple[str, ...] = ()) -> tuple[ElementRule, ...]:
    """Elements that R4 and R4B don't have."""
    return tuple(
        ElementRule((), (definition,), _nothing, _nothing, alternatives) for definition in elements(text)
    )


def only_in_r4(text: str) -> tuple[ElementRule, ...]:
    """Elements that R5 doesn't have."""
    return tuple(ElementRule((definition,), (), _nothing, _nothing) for definition in elements(text))


def single_to_list(name: str, type_name: str) -> ElementRule:
    """An element that repeats in R5 only: R4 gets the first."""
    return restructured(
        elements(f"{name}:{type_name}"), elements(f"{name}:{type_name}*"), lambda value: [value], _first
    )


def restructured(
    r4: tuple[ElementDefinition, ...],
    r5: tuple[ElementDefinition, ...],
    wrap: Callable[[Any], Any],
    unwrap: Callable[[Any], Any],
) -> ElementRule:
    """One complex element that has another structure in R5. `wrap` and `unwrap` return None for no value."""

    def translation(source: str, target: str, function: Callable[[Any], Any]) -> Translation:
        def translate(source_elements: JsonElement) -> JsonElement:
            value = function(source_elements[source]) if source in source_elements else None
            return {} if value is None else {target: value}

        return translate

    return ElementRule(
        r4,
        r5,
        translation(r4[0].name, r5[0].name, wrap),
        translation(r5[0].name, r4[0].name, unwrap),
    )


def required_primitive(name: str, type_name: str, *, in_r5: bool) -> ElementRule:
    """A primitive that R5, or else R4, requires: there a missing one has the absent reason `unknown`."""
    definition = elements(f"{name}:{type_name}")

    def fill(source_elements: JsonElement) -> JsonElement:
        return source_elements or {f"_{name}": absent_value()}

    def drop(source_elements: JsonElement) -> JsonElement:
        return {} if source_elements == {f"_{name}": absent_value()} else source_elements

    if in_r5:
        return ElementRule(definition, definition, fill, drop)
    return ElementRule(definition, definition, drop, fill)


def code_map(changed: Mapping[str, str | None], same: frozenset[str] | None = None) -> CodeTranslation:
    """Codes in `changed` are replaced; others stay if they are in `same` (None: any code stays)."""

    def translate(code: str) -> str | None:
        return changed.get(code, code if same is None or code in same else None)

    return translate


def absent_value() -> JsonElement:
    """Stands for a required value that is not known."""
    return {"extension": [{"url": ABSENT_REASON, "valueCode": "unknown"}]}


def _renaming(source: str, target: str) -> Translation:
    names = {source: target, f"_{source}": f"_{target}"}
    return lambda source_elements: {names[name]: value for name, value in source_elements.items()}


def _nothing(_source_elements: JsonElement) -> JsonElement:
    return {}


def _first(values: list[Any]) -> object:
    return values[0] if values else None
