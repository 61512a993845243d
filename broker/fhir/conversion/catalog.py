"""Every kind of object that rules speak of, by its path in either release, and the way from an object to those inside it."""

import re
from collections.abc import Mapping

from broker.fhir.conversion import (
    complex_types,
    device,
    device_metric,
    diagnostic_report,
    encounter,
    observation,
    people,
)
from broker.fhir.conversion.rules import Direction, Kind
from broker.model.release import Release

SAME_IN_R4_AND_R4B = frozenset(
    {
        *("AllergyIntolerance", "Appointment", "AppointmentResponse", "Basic", "Binary", "BodyStructure"),
        *("CarePlan", "CareTeam", "ClinicalImpression", "Communication", "CommunicationRequest", "Condition"),
        *("Consent", "Coverage", "DetectedIssue", "Device", "DeviceMetric", "DeviceRequest"),
        *("DeviceUseStatement", "DiagnosticReport", "DocumentReference", "Encounter", "Endpoint"),
        *("EpisodeOfCare", "FamilyMemberHistory", "Flag", "Goal", "Group", "HealthcareService"),
        *("ImagingStudy", "Immunization", "List", "Location", "Media", "Medication"),
        *("MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement"),
        *("NutritionOrder", "Observation", "Organization", "Patient", "Person", "Practitioner"),
        *("PractitionerRole", "Procedure", "Provenance", "QuestionnaireResponse", "RelatedPerson"),
        *("RiskAssessment", "Schedule", "ServiceRequest", "Slot", "Specimen", "Substance", "Task"),
    }
)
"""Types a body of which is valid in R4 exactly if it is in R4B, data types in extensions aside."""

CONVERTIBLE = frozenset(
    {"Device", "DeviceMetric", "DiagnosticReport", "Encounter", "Observation", "Patient", "Practitioner"}
)
"""Types convertible between R4 or R4B and R5."""

CONTAINABLE = frozenset({"Location", "Organization", "PractitionerRole", "RelatedPerson", "Specimen"})
"""Types that, inside one of those, pass if their elements happen to be valid in both: their codes didn't change."""

KINDS: tuple[Kind, ...] = (
    *complex_types.KINDS,
    *device.KINDS,
    *device_metric.KINDS,
    *diagnostic_report.KINDS,
    *encounter.KINDS,
    *observation.KINDS,
    *people.KINDS,
)

_BY_PATH: Mapping[bool, Mapping[str, Kind]] = {
    True: {kind.new: kind for kind in KINDS},
    False: {kind.old: kind for kind in KINDS},
}
_ALIASES = {
    "Observation.component.referenceRange": "Observation.referenceRange",
    "RelatedArtifact.document": "Attachment",
    "TriggerDefinition.data": "DataRequirement",
}
_BY_NAME = {
    "photo": "Attachment",
    "presentedForm": "Attachment",
    "note": "Annotation",
    "extension": "Extension",
    "modifierExtension": "Extension",
}
_VALUE = re.compile("value([A-Z][A-Za-z0-9]*)")


def kind_at(path: str, direction: Direction) -> Kind | None:
    """What is known of objects at the path in the source release."""
    return _BY_PATH[direction.source is Release.R5].get(path)


def inside(path: str, name: str, release: Release) -> str:
    """The path of the objects that are the named member of an object at `path`; '' where nothing depends on it."""
    longer = f"{path}.{name}"
    if longer in _ALIASES:
        return _ALIASES[longer]
    known = _BY_PATH[release is Release.R5]
    if longer in known:
        return longer
    if name in _BY_NAME:
        return _BY_NAME[name]
    typed = _VALUE.fullmatch(name)
    return typed[1] if typed and typed[1] in known else ""
