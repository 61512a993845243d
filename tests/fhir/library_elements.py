"""The rows of `broker/fhir/elements.tsv`, read from the classes of fhir.resources, which agree with HL7's
definitions of R5 and R4B.

`python -m tests.fhir.library_elements` writes the file; a test compares the two.
"""

from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

ELEMENTS = Path(__file__).parents[2] / "broker" / "fhir" / "elements.tsv"
HEADER = "releases\ttype\tkind\trequired_choices\telements\n"
_LIBRARY = {"R4B": "fhir.resources.R4B.fhirtypes", "R5": "fhir.resources.fhirtypes"}
_OPEN = "UsageContext"
"""A choice that has this type allows every type."""


def text() -> str:
    """The content of the file."""
    releases: dict[str, list[str]] = defaultdict(list)
    for release in _LIBRARY:
        for row in _rows(release):
            releases[row].append(release)
    lines = sorted(f"{' '.join(releases[row])}\t{row}\n" for row in releases)
    return HEADER + "".join(sorted(lines, key=lambda line: line.split("\t")[1]))


class _Element(NamedTuple):
    """The parts of an element in the file."""

    name: str
    type_name: str
    cardinality: str
    choice: str
    summary: str


def _rows(release: str) -> Iterator[str]:
    """Per class of a release with elements: its name, kind, required choices and elements."""
    types = import_module(_LIBRARY[release])
    for name in dir(types):
        kind = getattr(types, name)
        if not (name.endswith("Type") and hasattr(kind, "get_model_klass")):
            continue
        model = kind.get_model_klass()
        if model.elements_sequence():
            yield _row(release, model)


def _row(release: str, model: Any) -> str:
    is_resource = model.has_resource_base()
    summary = frozenset(model.summary_elements_sequence())
    elements: list[_Element] = []
    required_choices = set()
    for name, field in model.model_fields.items():
        if name.endswith("__ext") or name in {"fhir_comments", "resource_type"}:
            continue
        schema = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        choice = str(schema.get("one_of_many") or "")
        if choice and schema.get("one_of_many_required"):
            required_choices.add(choice)
        key = field.alias or name
        type_name, is_list = _type_of(field.annotation)
        if name == "id" and not is_resource:
            type_name = "element-id"
        elif name == "reference" and model.__name__ == "Reference":
            # it is a string in the definitions, and a URI in the text
            type_name = "uri"
        is_required = schema.get("element_required") or field.is_required()
        cardinality = f"{'1' if is_required else '0'}..{'*' if is_list else '1'}"
        elements.append(_Element(key, type_name, cardinality, choice, "Σ" if key in summary else ""))
    if release == "R4B":
        elements += _missing_metas(elements)
    cells = [
        model.__name__,
        "resource" if is_resource else "type",
        " ".join(sorted(required_choices)),
        " ".join(":".join(element).rstrip(":") for element in elements),
    ]
    return "\t".join(cells)


def _missing_metas(elements: list[_Element]) -> Iterator[_Element]:
    """The library's classes of R4B lack Meta among the types of an open choice."""
    names = {element.name for element in elements}
    for element in elements:
        meta = f"{element.name.removesuffix(_OPEN)}Meta"
        if element.choice and element.type_name == _OPEN and meta not in names:
            yield element._replace(name=meta, type_name="Meta")


def _type_of(annotation: Any) -> tuple[str, bool]:
    """The name of a type, and whether it is a list."""
    is_list = False
    while get_origin(annotation) in {Union, UnionType, list}:
        is_list = is_list or get_origin(annotation) is list
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    if annotation is bool:
        return "boolean", is_list
    if get_origin(annotation) is Annotated:
        # the library has no name for the type of UUIDs only
        return getattr(get_args(annotation)[-1], "__visit_name__", "uuid"), is_list
    return annotation.get_model_klass().__name__, is_list


if __name__ == "__main__":
    ELEMENTS.write_text(text(), encoding="utf-8")
