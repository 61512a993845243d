"""Which elements an element may have, and whether they repeat, from the classes of fhir.resources.

FHIRPath Patch asks, because a patch names an element that need not exist yet.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from broker.fhir.models import model_class
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.model.release import Release


class ElementDefinition(NamedTuple):
    """One element. `choice` is its FHIRPath name if it is one type of a choice (`value` of `valueString`),
    else ''. `model` is the class of its value, None for a primitive.
    """

    name: str
    repeats: bool
    choice: str
    model: type[BaseModel] | None


def resource_model(release: Release, resource_type: str) -> type[BaseModel] | None:
    """The class of a resource type; None where fhir.resources has none for its structure."""
    if resource_type not in RESOURCE_TYPES[release]:
        return None
    if release is Release.R4 and resource_type in UNMODELLED:
        return None
    return model_class(release, resource_type)


@cache
def elements_of(model: type[BaseModel]) -> Mapping[str, ElementDefinition]:
    """The elements by their JSON name."""
    elements = {}
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        if name == "fhir_comments" or name.startswith("_"):
            continue
        schema = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        value_type, repeats = _value_type(field.annotation)
        elements[name] = ElementDefinition(
            name, repeats, str(schema.get("one_of_many") or ""), _model(value_type)
        )
    return MappingProxyType(elements)


def _value_type(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be several."""
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return _value_type(next(each for each in get_args(annotation) if each is not NoneType))
    if origin is list:
        return _value_type(get_args(annotation)[0])[0], True
    if origin is Annotated:
        return None, False
    return annotation, False


def _model(value_type: Any) -> type[BaseModel] | None:
    get_class = getattr(value_type, "get_model_klass", None)
    return get_class() if get_class is not None else None
