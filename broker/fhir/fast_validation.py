"""Finds in a few microseconds that a resource is certainly valid, as most of device gateways and EHRs are.

A model class of fhir.resources is turned into a msgspec type that accepts less: only the elements that such
resources usually have, each value in its usual spelling. What that type accepts is valid. What it does not
accept may be valid too: then `validation.py` asks the library, which also words the errors. So there is one
authority on structure. `tests/fhir/test_fast_validation.py` compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import Meta
from pydantic import BaseModel

_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_YEAR = r"(?:19|20)[0-9]{2}"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_INSTANT = rf"{_YEAR}-{_DAY}T{_TIME}{_ZONE}"
_PARTIAL = rf"{_YEAR}(?:-(?:0[1-9]|1[0-2])|-{_DAY})?"
_SIZE = 2_147_483_647

_Type: TypeAlias = Any
"""What msgspec accepts as a type: a class, an alias, a union, `Annotated`."""

_PRIMITIVES: Mapping[str, _Type] = {
    "boolean": bool,
    "string": Annotated[str, Meta(pattern="[!-~]")],
    "markdown": str,
    "xhtml": str,
    "uri": str,
    "canonical": str,
    "code": Annotated[str, Meta(pattern=r"^[!-~]+(?: [!-~]+)*\Z")],
    "id": Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}\Z")],
    "decimal": int | float,
    "integer": Annotated[int, Meta(ge=-_SIZE, le=_SIZE)],
    "unsignedInt": Annotated[int, Meta(ge=0, le=_SIZE)],
    "positiveInt": Annotated[int, Meta(ge=1, le=_SIZE)],
    "date": Annotated[str, Meta(pattern=rf"^{_PARTIAL}\Z")],
    "dateTime": Annotated[str, Meta(pattern=rf"^(?:{_INSTANT}|{_PARTIAL})\Z")],
    "instant": Annotated[str, Meta(pattern=rf"^{_INSTANT}\Z")],
    "time": Annotated[str, Meta(pattern=rf"^{_TIME}\Z")],
}
"""By the name that fhir.resources has for a primitive. The library checks those that are missing here."""

_VALUES = frozenset(
    f"value{name}"
    for name in (
        *("Boolean", "Code", "DateTime", "Decimal", "Instant", "Integer", "String", "Uri", "Canonical"),
        *("CodeableConcept", "Coding", "Identifier", "Period", "Quantity", "Reference"),
    )
)
"""The values that an extension may have here."""
_LEFT_OUT = frozenset({"Element", "FHIRPrimitiveExtension", "Resource"})
"""Extensions of primitives, and types that may be anything."""
_CYCLE = ("Identifier", "assigner")
"""The library also checks a Reference in the Identifier of a Reference."""


@cache
def fast_decoder(model: type[BaseModel]) -> msgspec.json.Decoder[Any]:
    """A decoder that raises `msgspec.ValidationError` for a text that it does not accept."""
    name: str = model.get_resource_type()  # type: ignore[attr-defined]  # each class of fhir.resources has it
    return msgspec.json.Decoder(_struct(model, resource_type=name))


def is_certainly_valid(model: type[BaseModel], text: bytes) -> bool:
    """Whether the text, which is valid JSON in UTF-8, is certainly a valid resource of the model's type."""
    try:
        fast_decoder(model).decode(text)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _struct(model: type[BaseModel], resource_type: str = "") -> _Type:
    """The type of an element or, with `resource_type`, of a resource."""
    required: list[Any] = []
    optional: list[Any] = []
    choices: dict[str, list[str]] = {}
    required_choices: set[str] = set()
    if resource_type:
        required.append(("resource_type", Literal[resource_type], msgspec.field(name="resourceType")))
    for name, field in model.model_fields.items():
        schema = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        choice = schema.get("one_of_many")
        if choice and schema.get("one_of_many_required"):
            required_choices.add(str(choice))
        if (model.__name__, name) == _CYCLE or (
            choice and model.__name__ == "Extension" and name not in _VALUES
        ):
            continue
        inner = _element(field.annotation, is_in_resource=bool(resource_type))
        if inner is None:
            continue
        if choice:
            choices.setdefault(str(choice), []).append(name)
        if schema.get("element_required") or field.is_required():
            required.append((name, inner, msgspec.field(name=field.alias or name)))
        else:
            optional.append((name, inner, msgspec.field(default=None, name=field.alias or name)))
    groups = [
        (choices.get(prefix, []), prefix in required_choices)
        for prefix in choices.keys() | required_choices
        if prefix in required_choices or len(choices[prefix]) > 1
    ]
    return msgspec.defstruct(
        model.__name__,
        required + optional,
        namespace={"__post_init__": _choosing(groups)} if groups else None,
        forbid_unknown_fields=True,
        gc=False,
    )


def _choosing(groups: Sequence[tuple[Sequence[str], bool]]) -> Callable[[object], None]:
    """A check that each choice of types has at most one member, and exactly one if it is required."""

    def check(instance: object) -> None:
        for names, is_required in groups:
            values = [getattr(instance, name) for name in names]
            chosen = len(values) - values.count(None)
            if chosen > 1 or (is_required and not chosen):
                raise ValueError("a choice of types needs one member")

    return check


_element_types: dict[type[BaseModel], _Type | None] = {}
"""The types of elements made so far; None while one is being made, so that it is left out of itself."""


def _element(annotation: Any, *, is_in_resource: bool) -> _Type | None:
    """The type for an annotation of fhir.resources; None for what only the library checks.

    Extensions are accepted in the resource itself only: `is_in_resource`.
    """
    origin, arguments = (
        get_origin(annotation),
        [each for each in get_args(annotation) if each is not NoneType],
    )
    if origin in {Union, UnionType}:
        return _element(arguments[0], is_in_resource=is_in_resource) if len(arguments) == 1 else None
    if origin is list:
        inner = _element(arguments[0], is_in_resource=is_in_resource)
        return None if inner is None else list.__class_getitem__(inner)
    if annotation is bool:
        return bool
    if origin is Annotated:
        return _PRIMITIVES.get(getattr(arguments[-1], "__visit_name__", ""))
    if not isinstance(annotation, type) or not hasattr(annotation, "get_model_klass"):
        return None
    model = annotation.get_model_klass()
    if model.__name__ in _LEFT_OUT or (model.__name__ == "Extension" and not is_in_resource):
        return None
    if model not in _element_types:
        _element_types[model] = None
        _element_types[model] = _struct(model)
    return _element_types[model]
