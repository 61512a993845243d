"""References in a resource: to the patient it is about, and between the entries of a transaction."""

import re
from collections.abc import Mapping

import orjson

from broker.fhir.json_values import objects
from broker.model.json_text import STRING
from broker.model.resource import Resource

_STRINGS = re.compile(rb"(" + STRING + rb")(\s*:)?")
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


def replace_references(resource: Resource, targets: Mapping[str, str]) -> Resource:
    """The resource with each string value that equals a key replaced: a transaction's `urn:uuid:…` by
    `Type/id`.

    Only whole values change, so narrative does not. A member called `value` does not change either, because
    Identifier.value names a thing and does not refer to it. Raises `Malformed` for a text that is not a JSON
    object.
    """
    if not targets:
        return resource
    resource.fields  # noqa: B018  checks the text
    name = b""

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal name
        if match[2] is not None:
            name = match[1]
            return match[0]
        if name == b'"value"':
            return match[0]
        target = targets.get(orjson.loads(match[1]))
        return match[0] if target is None else orjson.dumps(target)

    return Resource(_STRINGS.sub(replaced, resource.text))
