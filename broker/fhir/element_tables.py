"""The elements of each type of a release: their types, cardinalities and choices.

`elements.tsv` restates the definitions of R4B and R5, one row for each type and backbone element; R4 is
derived from R4B. A row is parsed when its type is first needed. Validation walks a resource along the tables,
the analysis of FHIRPath criteria looks up the types of paths, FHIRPath Patch needs the elements that are not
there yet, and `_summary` those that belong to a summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.model.release import Release

ELEMENT_ID = "element-id"
"""The type of the id of an element: a text without whitespace. The id of a resource has the type `id`."""
NESTED = "Resource"
"""The type of an element that holds a resource of any type."""
_ONLY_R4B = frozenset({"CodeableReference", "RatioRange"})
_ROWS_OF = {Release.R4: "R4B", Release.R4B: "R4B", Release.R5: "R5"}


class Element(NamedTuple):
    """One element of a type, by its name in JSON.

    `type_name` is a primitive type (`dateTime`), a data type (`Period`), a backbone element
    (`ObservationComponent`), or `Resource`. `choice` is the name before the type in a choice (`value` for
    `valueString`), else ''.
    """

    name: str
    type_name: str
    is_list: bool
    is_required: bool
    choice: str
    is_summary: bool = False

    @property
    def is_primitive(self) -> bool:
        return self.type_name[0].islower()

    @property
    def has_elements(self) -> bool:
        """Whether `table_of_type` has its type: it is neither a primitive nor a resource."""
        return not self.is_primitive and self.type_name != NESTED


@dataclass(frozen=True, slots=True)
class ElementTable:
    """The elements of one type by their name in JSON. `required` and `required_choices` name what must be
    there.
    """

    type: str
    is_resource: bool
    elements: Mapping[str, Element]
    required: tuple[str, ...]
    required_choices: frozenset[str]


def table_of_resource(release: Release, name: str) -> ElementTable | None:
    """The table of a resource type; None if the release has no such type, and for the few types of R4 whose
    elements are not known.
    """
    if name not in RESOURCE_TYPES[release] or (release is Release.R4 and name in UNMODELLED):
        return None
    return table_of_type(release, name)


@cache
def table_of_type(release: Release, name: str) -> ElementTable:
    """The table of a resource type, a data type or a backbone element. Raises `KeyError` for an unknown
    one.
    """
    kind, required_choices, texts = _rows()[_ROWS_OF[release], name].split("\t")
    parsed = [_element(text) for text in texts.split(" ")]
    if release is Release.R4:
        parsed = [element for element in parsed if element.type_name not in _ONLY_R4B]
    return ElementTable(
        name,
        kind == "resource",
        {element.name: element for element in parsed},
        tuple(element.name for element in parsed if element.is_required),
        frozenset(required_choices.split()),
    )


def _element(text: str) -> Element:
    """Parses `name:type:0..1:choice:Σ`; choice and Σ, which marks what belongs to a summary, may be
    missing.
    """
    name, type_name, cardinality, choice, summary = (text + "::").split(":")[:5]
    return Element(name, type_name, cardinality[-1] == "*", cardinality[0] == "1", choice, summary == "Σ")


@cache
def _rows() -> Mapping[tuple[str, str], str]:
    """The cells after the name of each type, as text: a process needs few of them."""
    lines = (files("broker.fhir") / "elements.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows: dict[tuple[str, str], str] = {}
    for line in lines:
        releases, name, cells = line.split("\t", 2)
        for release in releases.split(" "):
            rows[release, name] = cells
    return rows
