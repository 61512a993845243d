"""References in a resource: to the patient it is about, and references by search. Intake calls it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from broker.fhir.json_values import objects
from broker.model.resource import JsonObject, Resource

_SEARCH = re.compile(r"([A-Z][A-Za-z]*)\?")
_PATIENT = re.compile(r"(Patient/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_PATIENT_ELEMENTS = (
    *("subject", "patient", "beneficiary", "for", "individual"),
    *("actor", "candidate", "policyHolder"),
)


def patient_reference(resource: Resource) -> str | None:
    """`Patient/id` of the patient the resource is about, else None.

    Placement uses it, so only relative references count.

    A Patient is its own compartment and gives None.
    """
    fields = resource.fields
    if fields.get("resourceType") == "Patient":
        return None
    for name in _PATIENT_ELEMENTS:
        if name not in fields:
            continue
        for reference in objects(fields[name]):
            target = reference.get("reference")
            if isinstance(target, str) and (match := _PATIENT.fullmatch(target)):
                return match[1]
    return None


def is_about(resource: Resource, patient: str) -> bool:
    """Whether an element that `patient_reference` looks at names that `Patient/id`, as the first or not; or
    the resource is this Patient.
    """
    fields = resource.fields
    if resource.type == "Patient":
        return f"Patient/{resource.id}" == patient
    targets = (
        reference.get("reference")
        for name in _PATIENT_ELEMENTS
        if name in fields
        for reference in objects(fields[name])
    )
    matches = (_PATIENT.fullmatch(target) for target in targets if isinstance(target, str))
    return any(match is not None and match[1] == patient for match in matches)


class ConditionalReference(NamedTuple):
    """A reference by search, such as `Patient?identifier=…`, and the path of its element."""

    element: str
    text: str
    type: str


def conditional_references(resource: Resource) -> list[ConditionalReference]:
    """The references by search, in the resource and what it contains.

    Raises `Malformed` for a text that is not a JSON object.
    """
    if b"?" not in resource.text and b"u003" not in resource.text:
        return []
    return list(_conditional(resource.fields, resource.type or "Resource"))


def _conditional(value: Any, path: str) -> Iterator[ConditionalReference]:
    if isinstance(value, JsonObject):
        for name in value:
            yield from _conditional(value.get(name), f"{path}.{name}")
    elif isinstance(value, tuple):
        for n, item in enumerate(value):
            yield from _conditional(item, f"{path}[{n}]")
    elif path.endswith(".reference") and isinstance(value, str):
        match = _SEARCH.match(value)
        if match:
            yield ConditionalReference(path, value, match[1])
