"""What a validation has found, and the resource that it reads."""

from collections.abc import Mapping
from typing import Any

from broker.errors import Issue

MAX_ISSUES = 100
"""The issues that are reported of one resource."""


class Found:
    """The issues of one validation, each once. `resource` is the resource that the elements belong to.

    `elements` are the ids of the elements in the profile whose rules gave the issues, in their order.
    """

    __slots__ = ("_seen", "elements", "issues", "resource", "root")

    def __init__(self, resource: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> None:
        self.resource = resource
        self.root = resource if root is None else root
        self.issues: list[Issue] = []
        self.elements: list[str] = []
        self._seen: set[tuple[str, str]] = set()

    def add(self, code: str, path: str, text: str, severity: str = "error", element: str = "") -> None:
        if (path, text) not in self._seen and len(self.issues) < MAX_ISSUES:
            self._seen.add((path, text))
            self.issues.append(Issue(code, f"{path}: {text}", path, severity))
            self.elements.append(element)

    def contained(self, reference: str) -> Mapping[str, Any] | None:
        """The contained resource that `#id` names."""
        for each in self.root.get("contained", ()):
            if isinstance(each, dict) and f"#{each.get('id')}" == reference:
                return each
        return None

    def adopt(self, other: "Found", element: str) -> None:
        """Adds the issues of a trial to those of the element whose rule asked for it."""
        for issue in other.issues:
            if (issue.expression or "", issue.text) not in self._seen and len(self.issues) < MAX_ISSUES:
                self._seen.add((issue.expression or "", issue.text))
                self.issues.append(issue)
                self.elements.append(element)
