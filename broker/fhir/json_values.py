"""Reads fields of a resource that is not validated yet, so that a value may have any JSON type."""

from collections.abc import Iterator
from typing import Any

from broker.model.resource import JsonObject


def objects(value: Any) -> Iterator[JsonObject]:
    """The objects of an element that has one or an array of them; values of other types are left out."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, JsonObject):
            yield item
