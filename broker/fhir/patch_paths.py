"""Finds the elements that the path of a FHIRPath Patch names, so that they can be changed in place.

A path is a chain of element names, `[n]`, and functions that select: `where`, `first`, `last`, `ofType`,
`extension`. A FHIRPath engine gives values and does not say where they are, so the chain is walked here; the
engine evaluates the criteria of `where` only. `fhirpath_patch.py` is the caller.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from broker.fhir.element_tables import NESTED, Element, table_of_resource, table_of_type
from broker.model.release import Release

MAX_PATH_CHARS = 1_000
MAX_STEPS = 50
MAX_CRITERIA = 20
"""How many `where(…)` one patch may evaluate."""
_ROOT = "%resource"
_NAME = re.compile(r"`([^`\\]+)`|([A-Za-z_][A-Za-z0-9_]*)")
_INDEX = re.compile(r"\[\s*(\d{1,9})\s*\]")
_START = re.compile(r"(?:%resource|%context|%rootResource|\$this)(?=\.|$)")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_URL = re.compile(r"\s*'((?:[^'\\])*)'\s*")
_TYPE = re.compile(r"\s*(?:FHIR\.|System\.)?`?([A-Za-z0-9]+)`?\s*")
_FUNCTIONS = ("where", "first", "last", "single", "ofType", "extension")

Evaluate = Callable[[str, Any], Sequence[Any]]
"""The values of a FHIRPath expression on a resource (a tree of `json_text.decode_exact`); raises
`NotApplicable`.
"""


class NotApplicable(Exception):  # noqa: N818 turned into the error of the operation at once
    """Why an operation cannot be carried out, and what to do next."""


class Step(NamedTuple):
    """`function` is '' for an element, else its name; `before` is the path up to this step."""

    name: str
    function: str
    argument: str
    before: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element is: in the JSON object `owner`, under the name of its definition, and its index in a
    list. `siblings` are the elements that the owner may have.
    """

    owner: dict[str, Any]
    definition: Element
    siblings: Mapping[str, Element]
    index: int | None = None

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def value(self) -> Any:
        """None for a primitive that has only an id or extensions."""
        return _item(self.owner.get(self.name), self.index)

    @property
    def companion(self) -> Any:
        """The object with the id and the extensions of a primitive."""
        return _item(self.owner.get(f"_{self.name}"), self.index)

    @property
    def object(self) -> dict[str, Any] | None:
        """The object whose members are the element's children; None if it has none."""
        for candidate in (self.value, self.companion):
            if isinstance(candidate, dict):
                return candidate
        return None


def parse_path(path: str) -> tuple[Step, ...]:
    """The steps of a path; raises `NotApplicable`."""
    if len(path) > MAX_PATH_CHARS:
        raise NotApplicable(f"the path is longer than {MAX_PATH_CHARS} characters.")
    steps: list[Step] = []
    start, position = _START.match(path), 0
    if start is not None:  # the engine knows %resource by each of these names, but for $this
        path = _ROOT + path[start.end() :]
        position = min(len(_ROOT) + 1, len(path))
    while position < len(path):
        step, position = _step(path, position)
        steps.append(step)
        while found := _INDEX.match(path, position):
            steps.append(Step("", "index", found[1], path[:position]))
            position = found.end()
        if position == len(path):
            break
        if path[position] != "." or position + 1 == len(path):
            raise NotApplicable(f"the path is not understood at {path[position : position + 20]!r}.")
        position += 1
    if len(steps) > MAX_STEPS:
        raise NotApplicable(f"the path has more than {MAX_STEPS} steps.")
    return tuple(steps)


def _step(path: str, position: int) -> tuple[Step, int]:
    """The element or function at the position, and the position behind it."""
    before = path[: max(position - 1, 0)]
    name = _NAME.match(path, position)
    if name is None:
        raise NotApplicable(f"the path is not understood at {path[position : position + 20]!r}.")
    text, end = name[1] or name[2], name.end()
    if end == len(path) or path[end] != "(":
        return Step(text, "", "", before), end
    if text not in _FUNCTIONS:
        raise NotApplicable(f"a path can't use {text}(). Use one of {', '.join(_FUNCTIONS)}.")
    close = _closing_bracket(path, end)
    return Step("", text, path[end + 1 : close], before), close + 1


def _closing_bracket(path: str, position: int) -> int:
    depth = 0
    while position < len(path):
        quoted = _QUOTED.match(path, position)
        if quoted is not None:
            position = quoted.end()
            continue
        depth += (path[position] == "(") - (path[position] == ")")
        if not depth:
            return position
        position += 1
    raise NotApplicable("a bracket of the path is not closed.")


class PathFinder:
    """The places that paths name in one resource, as it is when they are looked up."""

    def __init__(self, resource: dict[str, Any], release: Release, evaluate: Evaluate) -> None:
        self.resource = resource
        self._release = release
        self._evaluate = evaluate
        self._criteria = 0
        if table_of_resource(release, str(resource.get("resourceType"))) is None:
            text = f"the elements of {resource.get('resourceType')} are not known. Send a JSON Patch."
            raise NotApplicable(text)
        root = Element("", NESTED, is_list=False, is_required=True, choice="")
        self.root = Place({"": resource}, root, {"": root})

    def find(self, steps: Sequence[Step]) -> list[Place]:
        """The places in document order; none if nothing is there. Raises `NotApplicable`."""
        if steps and steps[0].name == self.resource["resourceType"]:
            steps = steps[1:]
        places = [self.root]
        for step in steps:
            if step.function:
                places = self._select(places, step)
            else:
                places = [child for place in places for child in self._children(place, step.name)]
        return places

    def one(self, steps: Sequence[Step]) -> Place:
        """The only place; raises `NotApplicable` for none and for several."""
        places = self.find(steps)
        if len(places) != 1:
            raise NotApplicable(f"the path names {len(places)} elements. Name exactly one.")
        return places[0]

    def definitions(self, place: Place) -> Mapping[str, Element]:
        """The elements that the element may have."""
        value = place.value
        if isinstance(value, dict) and "resourceType" in value:
            table = table_of_resource(self._release, str(value["resourceType"]))
            return {} if table is None else table.elements
        return self.elements_of(place.definition) or table_of_type(self._release, "Element").elements

    def elements_of(self, element: Element) -> Mapping[str, Element]:
        """The elements of the type of an element; none for a primitive or a resource."""
        return table_of_type(self._release, element.type_name).elements if element.has_elements else {}

    def _children(self, place: Place, name: str) -> list[Place]:
        definitions = self.definitions(place)
        named = [each for each in definitions.values() if name in (each.name, each.choice)]
        if not named or (name in definitions and definitions[name].choice):
            raise NotApplicable(f"there is no element {name[:40]!r} at this place of the path.")
        owner = place.object
        if owner is None:
            return []
        return [
            Place(owner, each, definitions, index) for each in named for index in indexes_of(owner, each.name)
        ]

    def _select(self, places: list[Place], step: Step) -> list[Place]:
        argument = step.argument
        match step.function:
            case "index":
                return places[int(argument) : int(argument) + 1]
            case "first":
                return places[:1]
            case "last":
                return places[-1:]
            case "single":
                if len(places) > 1:
                    raise NotApplicable(f"single() finds {len(places)} elements.")
                return places
            case "ofType":
                wanted = _argument(_TYPE, argument, "ofType() takes a type, such as Quantity.")
                return [place for place in places if _is_of_type(place, wanted)]
            case "extension":
                url = _argument(_URL, argument, "extension() takes a URL in quotes.")
                extensions = [child for place in places for child in self._children(place, "extension")]
                return [each for each in extensions if each.object and each.object.get("url") == url]
        return self._where(places, step)

    def _where(self, places: list[Place], step: Step) -> list[Place]:
        self._criteria += 1
        if self._criteria > MAX_CRITERIA:
            raise NotApplicable(f"the patch has more than {MAX_CRITERIA} where(). Send it in parts.")
        if not places:
            return []
        expression = f"{step.before or _ROOT}.select($this.where({step.argument}).exists())"
        verdicts = self._evaluate(expression, _without_list_companions(self.resource))
        if len(verdicts) != len(places):
            raise NotApplicable(f"where({step.argument[:80]}) can't be evaluated on each element.")
        return [place for place, verdict in zip(places, verdicts, strict=True) if verdict is True]


def indexes_of(owner: Mapping[str, Any], name: str) -> Sequence[int | None]:
    """The indexes of the values of an element in the object that has it; [None] for one outside a list."""
    present = [each for each in (owner.get(name), owner.get(f"_{name}")) if each is not None]
    lengths = [len(each) for each in present if isinstance(each, list)]
    if not lengths:
        return [None] if present else []
    return range(max(lengths))


def _without_list_companions(value: Any) -> Any:
    """The tree without the ids and extensions of primitives in lists: the engine takes them for more values
    of the list.
    """
    if isinstance(value, dict):
        return {
            name: _without_list_companions(item)
            for name, item in value.items()
            if not (name.startswith("_") and isinstance(item, list))
        }
    return [_without_list_companions(item) for item in value] if isinstance(value, list) else value


def _item(value: Any, index: int | None) -> Any:
    if index is None:
        return value
    return value[index] if isinstance(value, list) and index < len(value) else None


def _argument(pattern: re.Pattern[str], argument: str, reason: str) -> str:
    found = pattern.fullmatch(argument)
    if found is None:
        raise NotApplicable(reason)
    return found[1]


def _is_of_type(place: Place, type_name: str) -> bool:
    """Whether the element is a resource of the type, or this type of a choice."""
    if place.definition.choice:
        suffix = place.name.removeprefix(place.definition.choice)
        return suffix in (type_name, type_name[:1].upper() + type_name[1:])
    return isinstance(place.value, dict) and place.value.get("resourceType") == type_name
