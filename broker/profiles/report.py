"""The conformance report: for each profile and element, how many resources passed, failed and have it.

`fhir-broker conformance-report` prints it. It holds counts, paths and rules, and no value of a resource.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.errors import Issue
from broker.model.release import Release
from broker.profiles.catalog import ProfileCatalog
from broker.profiles.definitions import ElementRules
from broker.profiles.discriminators import Discriminating
from broker.profiles.found import Found
from broker.profiles.library import Profile
from broker.profiles.trees import Node, Step, parse_id, slicing_of
from broker.profiles.values import children

MAX_PROBLEMS = 1_000
_ERRORS = frozenset({"fatal", "error"})


@dataclass(slots=True)
class ElementCounts:
    """One element of a profile. `present` counts the resources that have it."""

    element: str
    must_support: bool
    passed: int = 0
    failed: int = 0
    present: int = 0


@dataclass(slots=True)
class ProfileCounts:
    """One profile: the resources that it was applied to, and those without an error of it."""

    url: str
    resources: int = 0
    conformant: int = 0
    elements: dict[str, ElementCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One issue of a resource. `resource` says which."""

    resource: str
    severity: str
    path: str
    text: str


@dataclass(slots=True)
class ConformanceReport:
    """`unchecked` are rules of the profiles that nothing here can check, and why."""

    resources: int = 0
    conformant: int = 0
    profiles: dict[str, ProfileCounts] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


class Reporter:
    """Adds resources to a report, one after another."""

    def __init__(self, catalog: ProfileCatalog, release: Release, profiles: Sequence[str] = ()) -> None:
        self._catalog = catalog
        self._release = release
        self._asked = tuple(profiles)
        self._report = ConformanceReport()

    def report(self) -> ConformanceReport:
        """The report so far."""
        self._report.unchecked = sorted(set(self._catalog.unchecked(self._release)))
        return self._report

    def add(self, name: str, fields: Mapping[str, Any], structure: Iterable[Issue]) -> None:
        """`structure` are the issues of its structure; with errors among them, profiles say nothing more.

        Raises `Unprocessable` for a profile that was asked for and is not known, or is for another type.
        """
        issues = list(structure)
        if not any(issue.severity in _ERRORS for issue in issues):
            issues += self._catalog.examine(self._release, fields, self._asked).issues
            for profile in self._catalog.profiles_of(self._release, fields, self._asked):
                self._count(profile, fields)
        self._report.resources += 1
        self._report.conformant += not any(issue.severity in _ERRORS for issue in issues)
        for issue in issues[: MAX_PROBLEMS - len(self._report.problems)]:
            self._report.problems.append(Problem(name, issue.severity, issue.expression or "", issue.text))

    def _count(self, profile: Profile, fields: Mapping[str, Any]) -> None:
        counts = self._report.profiles.get(profile.url)
        if counts is None:
            counts = self._report.profiles[profile.url] = ProfileCounts(profile.url)
            for element, node in profile.tree.walk(profile.type):
                if node.rules.must_support or _has_rule(node.rules):
                    counts.elements[element] = ElementCounts(element, node.rules.must_support)
        found = Found(fields)
        if profile.check is not None:
            profile.check(fields, profile.type, found)
        failed = {
            element
            for issue, element in zip(found.issues, found.elements, strict=True)
            if issue.severity in _ERRORS
        }
        counts.resources += 1
        counts.conformant += not failed
        discriminating = self._catalog.discriminating(self._release)
        for element, row in counts.elements.items():
            row.failed += element in failed
            row.passed += element not in failed
            row.present += is_present(profile, element, fields, found, discriminating)


def _has_rule(rules: ElementRules) -> bool:
    is_bound = rules.binding is not None and bool(rules.binding.required)
    said = (rules.min, rules.fixed, rules.pattern, rules.constraints, rules.max_length, rules.max == 0)
    return is_bound or any(said)


def is_present(
    profile: Profile, element: str, fields: Mapping[str, Any], found: Found, discriminating: Discriminating
) -> bool:
    """Whether a resource has an element of a profile, also one of a slice."""
    nodes: list[Node] = [profile.tree]
    values: list[Any] = [fields]
    for step in parse_id(element, profile.type):
        node = nodes[-1].children[step.name]
        values = [each for owner in values for each in _named(owner, step)]
        for slice_name in step.slices:
            sliced = node.slices[slice_name]
            slicing = slicing_of(step.name, node)
            if slicing is not None and not step.name.endswith("[x]"):
                predicate = discriminating.predicate(sliced, node, slicing.discriminators)
                values = [each for each in values if predicate is not None and predicate(each, found)]
            node = sliced
        nodes.append(node)
    return bool(values)


def _named(owner: Any, step: Step) -> list[Any]:
    """The values of an element; of a choice that is sliced by its type, those of this type."""
    choice = step.name.removesuffix("[x]")
    if choice == step.name:
        return list(children(owner, step.name)) if isinstance(owner, dict) else []
    names = [name for name in step.slices if name.startswith(choice)]
    return list(children(owner, names[0] if names else choice))
