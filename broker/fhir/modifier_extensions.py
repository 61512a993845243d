"""Refuses modifier extensions: they change the meaning of an element, and the broker supports none."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.fhir.element_reader import ElementReader
from broker.model.resource import JsonObject

_NAME = b"modifierExtension"


def refuse_modifier_extensions(reader: ElementReader, text: bytes) -> None:
    """Adds an issue for each modifier extension in the object, contained resources excepted. `text` is that
    of the object.
    """
    if _NAME not in text and b"\\u" not in text:
        return
    for path in _paths(reader.fields, ""):
        reader.refuse(
            "not-supported",
            "modifier extensions are not supported here; remove it",
            f"{path}modifierExtension",
        )


def _paths(fields: Mapping[str, Any], path: str) -> Iterator[str]:
    if "modifierExtension" in fields:
        yield path
    for name, value in fields.items():
        if name == "contained":
            continue
        if isinstance(value, JsonObject):
            yield from _paths(value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for n, item in enumerate(value):
                if isinstance(item, JsonObject):
                    yield from _paths(item, f"{path}{name}[{n}].")
