"""An operation and its parameters as values. `operation_definitions.py` lists and renders them.

`operations.tsv` has a row for each parameter: the operation, the releases that have it (none: all), `in` or
`out`, the name, how often it occurs, its FHIR type, and its documentation. A part's name follows the name of
the parameter it belongs to and a point; a parameter with parts has no type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from broker.model.release import Release

ANY_TYPE = "Resource"
"""The resource of an operation that every type has."""


@dataclass(frozen=True, slots=True)
class OperationParameter:
    """One parameter. `type` is a FHIR type, '' for a parameter that consists of `parts`."""

    name: str
    use: str
    min: int
    max: str
    type: str
    documentation: str
    releases: frozenset[Release] = frozenset(Release)
    parts: tuple["OperationParameter", ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    HL7 defines it in the releases `standard`; an operation of the whole base has no `resource`.
    """

    code: str
    title: str
    at_type: bool
    at_instance: bool
    affects_state: bool
    standard: frozenset[Release] = frozenset()
    resource: str = "Subscription"

    def resource_in(self, release: Release) -> str:
        """The type in a release: at the R4 base topics are Basic resources (R-387)."""
        is_basic = release is Release.R4 and self.resource == "SubscriptionTopic"
        return "Basic" if is_basic else self.resource

    @property
    def parameters(self) -> tuple[OperationParameter, ...]:
        return _parameters([cells[1:] for cells in _rows() if cells[0] == self.code])


@cache
def _rows() -> Sequence[Sequence[str]]:
    text = (files("broker.fhir") / "operations.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


def _parameters(rows: Sequence[Sequence[str]], parent: str = "") -> tuple[OperationParameter, ...]:
    """The parameters of an operation, or the parts of one of them; rows without the operation."""
    return tuple(
        OperationParameter(
            name.removeprefix(parent),
            use,
            int(minimum),
            maximum,
            parameter_type,
            documentation,
            frozenset(map(Release, releases.split())) or frozenset(Release),
            _parameters([row for row in rows if row[1] == use], f"{name}."),
        )
        for releases, use, name, minimum, maximum, parameter_type, documentation in rows
        if name.startswith(parent) and "." not in name.removeprefix(parent)
    )
