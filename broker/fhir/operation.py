"""An operation and its parameters, as values; `operation_definitions.py` writes them as resources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.model.release import Release


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `type` is a FHIR type, or a type for each release; '' where `parts` make it up."""

    name: str
    use: str
    min: int
    max: str
    type: str | Mapping[Release, str]
    documentation: str
    parts: Sequence["Parameter"] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `standard` tells in which releases HL7 defines it; one of the whole base has no `resource`."""

    code: str
    title: str
    at_type: bool
    at_instance: bool
    affects_state: bool
    standard: frozenset[Release]
    parameters: Sequence[Parameter]
    resource: str = "Subscription"
