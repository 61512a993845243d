"""What a validation has found, the resource that it reads, and the resources around that one."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.errors import Issue
from broker.profiles.bundles import BundleEntries

MAX_ISSUES = 100
"""The issues that are reported of one resource."""


class IssueList:
    """The issues of one validation, each once. `elements` are the ids of the elements in the profile whose
    rules gave them, in their order.
    """

    __slots__ = ("_seen", "elements", "issues")

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.elements: list[str] = []
        self._seen: set[tuple[str, str]] = set()

    def add(self, issue: Issue, element: str) -> None:
        key = (issue.expression or "", issue.text)
        if key not in self._seen and len(self.issues) < MAX_ISSUES:
            self._seen.add(key)
            self.issues.append(issue)
            self.elements.append(element)


class Found:
    """One validation of one resource: what was found, and the resources that references can be resolved to.

    `resource` is the resource that the elements belong to, `root` the one that contains it, or itself.
    `has_neighbours` says whether there is any resource that `target` could give.
    """

    __slots__ = (
        *("_collected", "_entries", "_in_progress", "_own_entries"),
        *("has_neighbours", "resource", "root"),
    )

    def __init__(
        self,
        resource: Mapping[str, Any],
        root: Mapping[str, Any] | None = None,
        entries: BundleEntries | None = None,
        in_progress: set[tuple[int, str]] | None = None,
        collected: IssueList | None = None,
    ) -> None:
        self.resource = resource
        self.root = resource if root is None else root
        self._entries = entries
        self._own_entries: BundleEntries | None = None
        self.has_neighbours = entries is not None or "contained" in self.root
        self._in_progress = set() if in_progress is None else in_progress
        self._collected = IssueList() if collected is None else collected

    @property
    def issues(self) -> Sequence[Issue]:
        return self._collected.issues

    @property
    def elements(self) -> Sequence[str]:
        """The ids of the elements in the profile whose rules gave the issues, in their order."""
        return self._collected.elements

    def trial(self) -> "Found":
        """One for the same resource that collects issues of its own."""
        return Found(self.resource, self.root, self._entries, self._in_progress)

    def of_nested(self, resource: Mapping[str, Any]) -> "Found":
        """One for a resource within this one, or beside it in a Bundle; it adds to the same issues."""
        is_contained = any(resource is each for each in self._contained())
        root, entries = (self.root if is_contained else resource), self._entries
        if self.resource.get("resourceType") == "Bundle" and not is_contained:
            if self._own_entries is None:
                self._own_entries = BundleEntries(self.resource)
            entries = self._own_entries
        return Found(resource, root, entries, self._in_progress, self._collected)

    def add(self, code: str, path: str, text: str, severity: str = "error", element: str = "") -> None:
        self._collected.add(Issue(code, f"{path}: {text}", path, severity), element)

    def _contained(self) -> Sequence[Any]:
        contained = self.root.get("contained", ())
        return contained if isinstance(contained, list) else ()

    def contained(self, reference: str) -> Mapping[str, Any] | None:
        """The contained resource that `#id` names."""
        for each in self._contained():
            if isinstance(each, dict) and f"#{each.get('id')}" == reference:
                return each
        return None

    def target(self, reference: Any) -> Mapping[str, Any] | None:
        """The resource that a Reference names, if it is contained or in the same Bundle."""
        text = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(text, str):
            return None
        if text.startswith("#"):
            return self.contained(text)
        return None if self._entries is None else self._entries.find(text, self.root)

    def enter(self, resource: Mapping[str, Any], profile: str) -> bool:
        """Begins the check of a target by a profile; False if it is being checked already: resources of a
        Bundle may refer to each other in circles.
        """
        key = (id(resource), profile)
        if key in self._in_progress:
            return False
        self._in_progress.add(key)
        return True

    def leave(self, resource: Mapping[str, Any], profile: str) -> None:
        self._in_progress.discard((id(resource), profile))

    def adopt(self, other: "Found", element: str) -> None:
        """Adds the issues of a trial to those of the element whose rule asked for it."""
        for issue in other.issues:
            self._collected.add(issue, element)
