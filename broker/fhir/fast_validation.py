"""Finds in a few microseconds that a resource is certainly valid, as most of device gateways and EHRs are.

The table of a type is turned into a msgspec type that accepts less: only the elements that such
resources usually have, each value in its usual spelling. What that type accepts is valid, except for what
`validation.py` looks at first (null, empty elements, control characters) and afterwards (the narrative). What
it does not accept may be valid too: then `validation.py` asks `structure.py`, which also words the errors. So
there is one authority on structure. `tests/fhir/test_fast_validation.py` compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from broker.fhir.element_tables import (
    ELEMENT_ID,
    NESTED,
    Element,
    ElementTable,
    table_of_type,
)
from broker.model.release import Release

_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_YEAR = r"(?:19|20)[0-9]{2}"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_INSTANT = rf"{_YEAR}-{_DAY}T{_TIME}{_ZONE}"
_PARTIAL = rf"{_YEAR}(?:-(?:0[1-9]|1[0-2])|-{_DAY})?"
_SIZE = 2_147_483_647

_URI = Annotated[str, Meta(pattern=r"^[!-~]+\Z")]
_WHOLE = frozenset({"integer", "unsignedInt", "positiveInt"})
"""Types whose values msgspec reads from `1.0` too, unless it may take that for a float."""

_Type: TypeAlias = Any
"""What msgspec accepts as a type: a class, an alias, a union, `Annotated`."""

_PRIMITIVES: Mapping[str, _Type] = {
    "boolean": bool,
    "string": Annotated[str, Meta(pattern="[!-~]")],
    "markdown": Annotated[str, Meta(pattern="[!-~]")],
    "xhtml": str,
    "uri": _URI,
    "canonical": _URI,
    "url": _URI,
    "code": Annotated[str, Meta(pattern=r"^[!-~]+(?: [!-~]+)*\Z")],
    "id": Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}\Z")],
    "decimal": int | float,
    "integer": Annotated[int, Meta(ge=-_SIZE, le=_SIZE)] | float,
    "unsignedInt": Annotated[int, Meta(ge=0, le=_SIZE)] | float,
    "positiveInt": Annotated[int, Meta(ge=1, le=_SIZE)] | float,
    "date": Annotated[str, Meta(pattern=rf"^{_PARTIAL}\Z")],
    "dateTime": Annotated[str, Meta(pattern=rf"^(?:{_INSTANT}|{_PARTIAL})\Z")],
    "instant": Annotated[str, Meta(pattern=rf"^{_INSTANT}\Z")],
    "time": Annotated[str, Meta(pattern=rf"^{_TIME}\Z")],
}
"""Primitives that are missing here are left to `structure.py`."""

_VALUES = frozenset(
    f"value{name}"
    for name in (
        *("Boolean", "Code", "DateTime", "Decimal", "Instant", "Integer", "String", "Uri", "Canonical"),
        *("CodeableConcept", "Coding", "Identifier", "Period", "Quantity", "Reference"),
    )
)
"""The values that an extension may have here."""
_LEFT_OUT = frozenset({ELEMENT_ID, "ElementDefinition", NESTED})
"""Types that are left to `structure.py`. So are extensions with extensions, and those that are not in the
resource itself and whose value is not primitive.
"""
_EXTENSION = "Extension"
_CYCLE = frozenset({"Identifier"})
"""Types whose references are left out, so that a Reference is not part of itself."""


@cache
def fast_decoder(release: Release, resource_type: str) -> msgspec.json.Decoder[Any]:
    """A decoder that raises `msgspec.DecodeError` for a text that it does not accept."""
    return msgspec.json.Decoder(_struct(release, table_of_type(release, resource_type)))


def is_certainly_valid(release: Release, resource_type: str, text: bytes) -> bool:
    """Whether the text, which is valid JSON in UTF-8, is certainly a valid resource of the type."""
    try:
        fast_decoder(release, resource_type).decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _struct(release: Release, table: ElementTable) -> _Type:
    required: list[Any] = []
    optional: list[Any] = []
    choices: dict[str, list[str]] = {}
    whole: list[str] = []
    if table.is_resource:
        required.append(("resource_type", Literal[table.type], msgspec.field(name="resourceType")))
    for name, element in table.elements.items():
        inner = _element(release, table, name, element)
        if inner is None:
            continue
        attribute = f"{name}_"  # an element may be named by a keyword of Python
        if element.choice:
            choices.setdefault(element.choice, []).append(attribute)
        if element.type_name in _WHOLE:
            whole.append(attribute)
        if element.is_primitive and not (element.is_list or element.choice or table.type == _EXTENSION):
            siblings = _siblings(release)
            optional.append((f"{attribute}siblings", siblings, msgspec.field(default=None, name=f"_{name}")))
        if element.is_required:
            required.append((attribute, inner, msgspec.field(name=name)))
        else:
            optional.append((attribute, inner, msgspec.field(default=None, name=name)))
    required_choices = table.required_choices | ({"value"} if table.type == _EXTENSION else set())
    groups = [
        (choices.get(choice, []), choice in required_choices)
        for choice in choices.keys() | required_choices
        if choice in required_choices or len(choices[choice]) > 1
    ]
    return msgspec.defstruct(
        table.type,
        required + optional,
        namespace={"__post_init__": _checking(groups, whole)} if groups or whole else None,
        forbid_unknown_fields=True,
        gc=False,
    )


def _checking(groups: Sequence[tuple[Sequence[str], bool]], whole: Sequence[str]) -> Callable[[object], None]:
    """A check that each choice of types has at most one member, and exactly one if it is required; and that
    whole numbers are written as such.
    """

    def check(instance: object) -> None:
        for names, is_required in groups:
            values = [getattr(instance, name) for name in names]
            chosen = len(values) - values.count(None)
            if chosen > 1 or (is_required and not chosen):
                raise ValueError("a choice of types needs one member")
        for name in whole:
            if getattr(instance, name).__class__ is float:
                raise ValueError("a whole number has no fraction and no exponent")

    return check


def _checking_value(values: int, whole: Sequence[str]) -> Callable[[msgspec.Struct], None]:
    """What `_checking` gives, for an instance that has a URL and so many possible values, one of which it
    needs.
    """

    def check(instance: msgspec.Struct) -> None:
        if msgspec.structs.astuple(instance).count(None) != values - 1:
            raise ValueError("an extension needs one value")
        for name in whole:
            if getattr(instance, name).__class__ is float:
                raise ValueError("a whole number has no fraction and no exponent")

    return check


_element_types: dict[tuple[Release, str], _Type | None] = {}
"""The types of elements made so far; None while one is being made, so that it is left out of itself."""


def _element(release: Release, owner: ElementTable, name: str, element: Element) -> _Type | None:
    """The type of one element of the owner; None for what is left to `structure.py`."""
    if element.type_name == _EXTENSION and not owner.is_resource:
        return None if owner.type == _EXTENSION else _extensions(release)
    if _is_left_out(owner, name, element):
        return None
    inner = _PRIMITIVES.get(element.type_name) if element.is_primitive else _object(release, element)
    if inner is None or not element.is_list:
        return inner
    return list.__class_getitem__(inner)


def _is_left_out(owner: ElementTable, name: str, element: Element) -> bool:
    type_name = element.type_name
    if owner.type == _EXTENSION and element.choice:
        return name not in _VALUES
    return (
        type_name in _LEFT_OUT
        or (type_name == "Reference" and owner.type in _CYCLE)
        or (type_name in _WHOLE and element.is_list)
    )


@cache
def _extensions(release: Release) -> _Type:
    """Extensions that have a primitive value, wherever they are."""
    elements = table_of_type(release, _EXTENSION).elements.values()
    values = [each for each in elements if each.choice and each.type_name in _PRIMITIVES]
    fields = [
        (each.name, _PRIMITIVES[each.type_name], msgspec.field(default=None, name=each.name))
        for each in values
    ]
    whole = [each.name for each in values if each.type_name in _WHOLE]
    extension = msgspec.defstruct(
        f"Primitive{_EXTENSION}",
        [("url", _URI), *fields],
        namespace={"__post_init__": _checking_value(len(values), whole)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return list.__class_getitem__(extension)


@cache
def _siblings(release: Release) -> _Type:
    """The extensions of a primitive, in the member whose name starts with an underscore."""
    fields = [("extension", _extensions(release))]
    return msgspec.defstruct("Siblings", fields, forbid_unknown_fields=True, gc=False)


def _object(release: Release, element: Element) -> _Type | None:
    key = release, element.type_name
    if key not in _element_types:
        _element_types[key] = None
        _element_types[key] = _struct(release, table_of_type(release, element.type_name))
    return _element_types[key]
