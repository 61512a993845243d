"""An operation and its parameters as values. `operation_definitions.py` renders them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.model.release import Release

ANY_TYPE = "Resource"
"""The resource of an operation that every type has."""


@dataclass(frozen=True, slots=True)
class OperationParameter:
    """One parameter.

    `type` is a FHIR type, or a type for each release; '' for a parameter that consists of `parts`.
    """

    name: str
    use: str
    min: int
    max: str
    type: str | Mapping[Release, str]
    documentation: str
    parts: Sequence["OperationParameter"] = ()


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
    standard: frozenset[Release]
    parameters: Sequence[OperationParameter]
    resource: str = "Subscription"
