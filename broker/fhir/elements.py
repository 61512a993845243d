"""Reads elements out of parsed FHIR JSON and collects an issue for each that is not what it should be.

A reader never raises in the middle: `finish` raises once, with every problem found, each naming its element.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.errors import Issue, Unprocessable


class Elements:
    """One JSON object at `path`, e.g. `Subscription.channel`."""

    def __init__(self, values: Mapping[str, Any], path: str, issues: list[Issue] | None = None) -> None:
        self.values = values
        self.path = path
        self.issues: list[Issue] = [] if issues is None else issues

    def refuse(self, code: str, text: str, element: str | None = None) -> None:
        self.issues.append(Issue(code, text, f"{self.path}.{element}" if element else self.path))

    def finish(self) -> None:
        """Raises `Unprocessable` with all that was refused."""
        if self.issues:
            raise Unprocessable(*self.issues)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self.values.get(name)
        if value is None:
            if required:
                self.refuse("required", f"{self.path}.{name} is missing", name)
            return None
        if not isinstance(value, str) or not value.strip():
            self.refuse("value", f"{self.path}.{name} is not a string with text in it", name)
            return None
        return value

    def whole(self, name: str, *, least: int = 0) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least or value > 2**31 - 1:
            self.refuse("value", f"{self.path}.{name} is not a whole number of at least {least}", name)
            return None
        return value

    def object(self, name: str, *, required: bool = False) -> "Elements":
        value = self.values.get(name)
        if value is None and required:
            self.refuse("required", f"{self.path}.{name} is missing", name)
        elif value is not None and not isinstance(value, dict):
            self.refuse("structure", f"{self.path}.{name} is not an object", name)
        # JSON's `_criteria` holds the extensions of `criteria`: the same element in FHIRPath
        return Elements(
            value if isinstance(value, dict) else {}, f"{self.path}.{name.removeprefix('_')}", self.issues
        )

    def objects(self, name: str) -> Iterator["Elements"]:
        values = self.values.get(name)
        if values is None:
            return
        if not isinstance(values, list):
            self.refuse("structure", f"{self.path}.{name} is not an array", name)
            return
        for n, value in enumerate(values):
            if isinstance(value, dict):
                yield Elements(value, f"{self.path}.{name}[{n}]", self.issues)
            else:
                self.refuse("structure", f"{self.path}.{name}[{n}] is not an object", f"{name}[{n}]")

    def texts(self, name: str) -> list[str]:
        values = self.values.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            self.refuse("structure", f"{self.path}.{name} is not an array of strings", name)
            return []
        return values
