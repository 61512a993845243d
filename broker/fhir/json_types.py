"""Finds values of the wrong JSON type: numbers and booleans in quotes, strings without.

fhir.resources accepts them, but a filter would not match them.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from broker.errors import Issue
from broker.model.resource import JsonObject

_INTEGER64 = frozenset({"size", "eventsSinceSubscriptionStart", "eventNumber", "valueInteger64"})
"""Elements that R5 writes as a number in quotes (R-221)."""


def find_wrong_json_types(instance: BaseModel, fields: Mapping[str, Any], path: str) -> Iterator[Issue]:
    """The values whose JSON type is not that of the instance that the library made of the fields."""
    attributes = vars(instance)
    for name, value in fields.items():
        attribute = attributes.get(name)
        if isinstance(value, JsonObject):
            if isinstance(attribute, BaseModel):
                yield from find_wrong_json_types(attribute, value, f"{path}.{name}")
        elif isinstance(value, tuple):
            if isinstance(attribute, list):
                for n, (inner, item) in enumerate(zip(attribute, value, strict=False)):
                    if isinstance(item, JsonObject) and isinstance(inner, BaseModel):
                        yield from find_wrong_json_types(inner, item, f"{path}.{name}[{n}]")
        elif attribute is not None and name not in _INTEGER64:
            expected = _json_type(attribute)
            if _json_type(value) != expected:
                yield Issue("value", f"{path}.{name} must be {expected}", f"{path}.{name}")


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false, without quotes"
    return "a number, without quotes" if isinstance(value, int | float | Decimal) else "text in quotes"
