"""Reads elements of a resource's fields, and collects an issue for each that is not what it should be.

A reader never raises half-way: `finish` raises once, with all problems, each with its element. The readers of
Subscriptions, topics and operation parameters use it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.errors import Issue, Unprocessable
from broker.model.resource import JsonObject

_MAX_INTEGER = 2**31 - 1
_NO_FIELDS = JsonObject({})


class ElementReader:
    """One JSON object at `path`, e.g. `Subscription.channel`."""

    def __init__(self, fields: Mapping[str, Any], path: str, issues: list[Issue] | None = None) -> None:
        self.fields = fields
        self.path = path
        self.issues: list[Issue] = [] if issues is None else issues

    def refuse(self, code: str, text: str, element: str | None = None) -> None:
        """Adds an issue about the element, or about the object itself."""
        self.issues.append(Issue(code, text, f"{self.path}.{element}" if element else self.path))

    def finish(self) -> None:
        """Raises `Unprocessable` with all issues, if there are any."""
        if self.issues:
            raise Unprocessable(*self.issues)

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def string(self, name: str, *, required: bool = False) -> str | None:
        value = self.fields.get(name)
        if value is None:
            if required:
                self.refuse("required", f"{self.path}.{name} is missing", name)
            return None
        if not isinstance(value, str) or not value.strip():
            self.refuse("value", f"{self.path}.{name} must be a string that is not empty", name)
            return None
        return value

    def integer(self, name: str, *, minimum: int = 0) -> int | None:
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= _MAX_INTEGER:
            self.refuse("value", f"{self.path}.{name} must be an integer of at least {minimum}", name)
            return None
        return value

    def object(self, name: str, *, required: bool = False) -> "ElementReader":
        """A reader of the element; of an empty object if there is none."""
        value = self.fields.get(name)
        if value is None and required:
            self.refuse("required", f"{self.path}.{name} is missing", name)
        elif value is not None and not isinstance(value, JsonObject):
            self.refuse("structure", f"{self.path}.{name} must be an object", name)
        fields = value if isinstance(value, JsonObject) else _NO_FIELDS
        # JSON's `_criteria` holds the extensions of `criteria`: the same element in FHIRPath
        return ElementReader(fields, f"{self.path}.{name.removeprefix('_')}", self.issues)

    def objects(self, name: str) -> Iterator["ElementReader"]:
        """A reader of each object in the array."""
        values = self.fields.get(name)
        if values is None:
            return
        if not isinstance(values, tuple):
            self.refuse("structure", f"{self.path}.{name} must be an array", name)
            return
        for n, value in enumerate(values):
            if isinstance(value, JsonObject):
                yield ElementReader(value, f"{self.path}.{name}[{n}]", self.issues)
            else:
                self.refuse("structure", f"{self.path}.{name}[{n}] must be an object", f"{name}[{n}]")

    def strings(self, name: str) -> list[str]:
        values = self.fields.get(name)
        if values is None:
            return []
        if not isinstance(values, tuple) or not all(isinstance(value, str) and value for value in values):
            self.refuse("structure", f"{self.path}.{name} must be an array of strings", name)
            return []
        return list(values)
