"""What a rule of conversion is: elements of R4 and R4B on one side, elements of R5 on the other, and the best guess each way.

A rule need not be lossless. The engine takes it back at once; where that doesn't give what was there, the source elements
travel along in the standard cross-version extensions. So a rule says only what a reader of the target should find.
"old" is R4 and R4B, which are alike here, "new" is R5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.model.release import Release

Node = dict[str, Any]
"""A JSON object; each number in it is a `msgspec.Raw`, spelt as it came."""

Change = Callable[[Node], Node]

ABSENT_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class NotConvertible(Exception):  # noqa: N818 reads as what the instance is; never leaves the package
    """The instance holds what the target release has no way to say."""


@dataclass(frozen=True, slots=True)
class Direction:
    """From one release to another."""

    source: Release
    target: Release

    @property
    def to_new(self) -> bool:
        return self.target is Release.R5 and self.source is not Release.R5

    @property
    def to_old(self) -> bool:
        return self.source is Release.R5 and self.target is not Release.R5


@dataclass(frozen=True, slots=True)
class Field:
    """An element: its name without `[x]`, its possible types, whether it repeats."""

    name: str
    types: tuple[str, ...]
    many: bool
    choice: bool

    def members(self) -> tuple[tuple[str, str], ...]:
        """The JSON members it may have, each with its type."""
        if not self.choice:
            return ((self.name, self.types[0]),)
        return tuple((self.name + capital(kind), kind) for kind in self.types)


@dataclass(frozen=True, slots=True)
class Rule:
    """Elements that go together. `to_new` and `to_old` get these alone, with their `_` siblings, and give the other side's."""

    old: tuple[Field, ...]
    new: tuple[Field, ...]
    to_new: Change
    to_old: Change
    alternatives: tuple[str, ...] = ()
    """Beginnings of the names of members beside which none may be restored."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A code of the same name on both sides; None where the other has no word for it: then only the extension stays."""

    name: str
    to_new: Callable[[str], str | None]
    to_old: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type or backbone element by its path in each release, and what differs."""

    old: str
    new: str
    rules: tuple[Rule | Codes, ...] = field(default=())


def capital(kind: str) -> str:
    return kind[0].upper() + kind[1:]


def fields(text: str) -> tuple[Field, ...]:
    """Reads `use:CodeableConcept* value[x]:string|Quantity`."""
    found = []
    for word in text.split():
        name, _, types = word.partition(":")
        kinds = tuple(types.removesuffix("*").split("|"))
        found.append(Field(name.removesuffix("[x]"), kinds, types.endswith("*"), name.endswith("[x]")))
    return tuple(found)


def renamed(old: str, new: str, kind: str) -> Rule:
    """The same under another name; `kind` as in `fields`, e.g. `Reference*`."""
    return Rule(fields(f"{old}:{kind}"), fields(f"{new}:{kind}"), _renamer(old, new), _renamer(new, old))


def added(text: str, *, alternatives: tuple[str, ...] = ()) -> tuple[Rule, ...]:
    """Elements only R5 has."""
    return tuple(Rule((), (one,), _nothing, _nothing, alternatives) for one in fields(text))


def gone(text: str) -> tuple[Rule, ...]:
    """Elements only R4 and R4B have."""
    return tuple(Rule((one,), (), _nothing, _nothing) for one in fields(text))


def listed(name: str, kind: str) -> Rule:
    """One in R4, many in R5: the first is what R4 sees."""
    return rewrapped(fields(f"{name}:{kind}"), fields(f"{name}:{kind}*"), lambda one: [one], _first)


def rewrapped(
    old: tuple[Field, ...], new: tuple[Field, ...], wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]
) -> Rule:
    """One complex element for another. Either function answers None where there is nothing to say."""

    def changed(source: str, target: str, function: Callable[[Any], Any]) -> Change:
        def change(given: Node) -> Node:
            value = function(given[source]) if source in given else None
            return {} if value is None else {target: value}

        return change

    return Rule(old, new, changed(old[0].name, new[0].name, wrap), changed(new[0].name, old[0].name, unwrap))


def needed(name: str, kind: str, *, new: bool) -> Rule:
    """A primitive that one side requires: there a missing one has a reason, `unknown`, in the place of a value."""
    one = fields(f"{name}:{kind}")

    def fill(given: Node) -> Node:
        return given or {f"_{name}": absent()}

    def drop(given: Node) -> Node:
        return {} if given == {f"_{name}": absent()} else given

    return Rule(one, one, fill, drop) if new else Rule(one, one, drop, fill)


def recoded(
    changes: Mapping[str, str | None], known: frozenset[str] | None = None
) -> Callable[[str], str | None]:
    """A code as the other side has it: listed in `changes`, else the same if it is one of `known` (None: any)."""

    def recode(code: str) -> str | None:
        return changes.get(code, code if known is None or code in known else None)

    return recode


def absent() -> Node:
    """What stands for a required value that isn't known."""
    return {"extension": [{"url": ABSENT_REASON, "valueCode": "unknown"}]}


def _renamer(source: str, target: str) -> Change:
    names = {source: target, f"_{source}": f"_{target}"}
    return lambda given: {names[name]: value for name, value in given.items()}


def _nothing(_given: Node) -> Node:
    return {}


def _first(values: list[Any]) -> object:
    return values[0] if values else None
