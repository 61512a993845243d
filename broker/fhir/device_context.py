"""What a device may see of the record around it: the resources about its current patient, and their elements.

`$context` shows them; intake enters those that are in force into the reference index, so that they are found
by their patient.
"""

from collections.abc import Sequence
from datetime import datetime

from broker.errors import ConfigurationError
from broker.fhir.date_times import earliest, latest
from broker.fhir.references import patient_reference
from broker.fhir.summaries import known_elements
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource

CONTEXT_TYPES = ("CareTeam", "MedicationRequest")
"""The types of which the resources in force are shown, besides the Device and its Patient."""
ACTIVE_PATIENT = "active-patient"
"""The name under which the reference index has the patient of an active resource."""
CONTEXT_ELEMENTS = (
    *("Patient.identifier", "Patient.name", "Patient.gender", "Patient.birthDate"),
    *("CareTeam.name", "CareTeam.category", "CareTeam.subject", "CareTeam.period", "CareTeam.participant"),
    *("MedicationRequest.contained", "MedicationRequest.authoredOn"),
    *("MedicationRequest.medicationCodeableConcept", "MedicationRequest.medicationReference"),
    *("MedicationRequest.medication", "MedicationRequest.dosageInstruction"),
)
"""The elements that are shown unless a setting names others: those of the topics that ship."""


def context_references(resource_type: str, resource: Resource) -> tuple[tuple[str, str], ...]:
    """The entries of a resource in the reference index."""
    if resource_type not in CONTEXT_TYPES or resource.fields.get("status", "active") != "active":
        return ()
    patient = patient_reference(resource)
    return ((ACTIVE_PATIENT, patient),) if patient else ()


def is_in_force(resource: Resource, moment: datetime) -> bool:
    """Whether the period of an active resource, if it has one, covers the moment."""
    period = resource.fields.get("period")
    if not isinstance(period, JsonObject):
        return True
    start, end = earliest(period.get("start")), latest(period.get("end"))
    return (start is None or start <= moment) and (end is None or moment < end)


def context_elements(named: Sequence[str]) -> tuple[str, ...]:
    """The elements of the setting, or those by default. Raises `ConfigurationError` for a name that no
    release has.
    """
    for name in named:
        resource_type, _, element = name.partition(".")
        if not any(element in known_elements(release, resource_type) for release in Release):
            text = f"BROKER_CONTEXT_ELEMENTS: {name!r} is no element of a resource; name one as Patient.name"
            raise ConfigurationError(text)
    return tuple(named) or CONTEXT_ELEMENTS
