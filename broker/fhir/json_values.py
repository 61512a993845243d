"""Reads values of a resource's fields that may be of any JSON type, because nothing has validated them yet."""

from collections.abc import Iterator
from typing import Any

from broker.model.resource import JsonObject


def objects(value: Any) -> Iterator[JsonObject]:
    """The objects that an element holds, whether it has one or an array of them; values of other types are left out."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, JsonObject):
            yield item
