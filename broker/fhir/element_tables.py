"""The elements of each type of a release: their types, cardinalities and choices.

The tables are read from the classes of fhir.resources, which agree with HL7's definitions of R5 and R4B; R4
is derived from R4B. Validation walks a resource along them, the analysis of FHIRPath criteria looks up the
types of paths, and FHIRPath Patch needs the elements that are not there yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from broker.fhir.models import model_class
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.model.release import Release

ELEMENT_ID = "element-id"
"""The type of the id of an element: a text without whitespace. The id of a resource has the type `id`."""
NESTED = "Resource"
"""The type of an element that holds a resource of any type."""
_ONLY_R4B = frozenset({"CodeableReference", "RatioRange"})
_OPEN = "UsageContext"
"""A choice that has this type allows every type."""


class Element(NamedTuple):
    """One element of a type, by its name in JSON.

    `type_name` is a primitive type (`dateTime`), a data type (`Period`), or `Resource`; `model` is None for
    the first and the last. `choice` is the name before the type in a choice (`value` for `valueString`), else
    ''.
    """

    name: str
    type_name: str
    is_list: bool
    is_required: bool
    choice: str
    model: type[BaseModel] | None = None

    @property
    def is_primitive(self) -> bool:
        return self.model is None and self.type_name != NESTED


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


def table_of_type(release: Release, name: str) -> ElementTable:
    """The table of a resource type or data type. Raises `KeyError` or `ValueError` for an unknown one."""
    return table_of_model(release, model_class(release, name))


@cache
def table_of_model(release: Release, model: type[BaseModel]) -> ElementTable:
    """The table of a class of fhir.resources, which is that of a resource, a data type or a backbone
    element.
    """
    is_resource: bool = model.has_resource_base()  # type: ignore[attr-defined]  # each class of the library has it
    elements: dict[str, Element] = {}
    required_choices: set[str] = set()
    for name, field in model.model_fields.items():
        if name.endswith("__ext") or name == "fhir_comments":
            continue
        schema = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        choice = str(schema.get("one_of_many") or "")
        if choice and schema.get("one_of_many_required"):
            required_choices.add(choice)
        is_required = bool(schema.get("element_required") or field.is_required())
        key = field.alias or name
        element = _element(key, field.annotation, choice=choice, is_required=is_required)
        if name == "id" and not is_resource:
            element = element._replace(type_name=ELEMENT_ID)
        elif name == "reference" and model.__name__ == "Reference":
            # it is a string in the definitions, and a URI in the text
            element = element._replace(type_name="uri")
        elements[key] = element
    if release is not Release.R5:
        _correct(release, elements)
    return ElementTable(
        model.__name__,
        is_resource,
        elements,
        tuple(name for name, element in elements.items() if element.is_required),
        frozenset(required_choices),
    )


def _correct(release: Release, elements: dict[str, Element]) -> None:
    """The library's classes of R4B lack Meta among the types of an open choice; R4 does not have all types of
    R4B.
    """
    open_choices = [
        (name, element) for name, element in elements.items() if element.choice and element.type_name == _OPEN
    ]
    for name, element in open_choices:
        meta = f"{name.removesuffix(_OPEN)}Meta"
        model = model_class(release, "Meta")
        elements.setdefault(meta, element._replace(name=meta, type_name="Meta", model=model))
    if release is Release.R4:
        for name in [name for name, element in elements.items() if element.type_name in _ONLY_R4B]:
            del elements[name]


def _element(name: str, annotation: Any, *, choice: str, is_required: bool) -> Element:
    is_list = False
    while get_origin(annotation) in {Union, UnionType, list}:
        is_list = is_list or get_origin(annotation) is list
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    if annotation is bool:
        return Element(name, "boolean", is_list, is_required, choice)
    if get_origin(annotation) is Annotated:
        # the library has no name for the type of UUIDs only
        type_name = getattr(get_args(annotation)[-1], "__visit_name__", "uuid")
        return Element(name, type_name, is_list, is_required, choice)
    model: type[BaseModel] = annotation.get_model_klass()
    if model.__name__ == NESTED:
        return Element(name, NESTED, is_list, is_required, choice)
    return Element(name, model.__name__, is_list, is_required, choice, model)
