"""A resource of one release as a resource of another, where nothing gets lost; otherwise there is no conversion.

R4B left the types in `SAME_IN_R4_AND_R4B` as R4 had them. Between those two and R5, Observation and Patient are alike but
for what is looked at here: SampledData, which is rewritten, and elements or values the target can't hold, which make the
resource inconvertible. Bytes that need no change are passed on as they are, so numbers keep their spelling.
"""

import re
from decimal import Decimal

import orjson

from broker.fhir.documents import items, join, members
from broker.fhir.validation import RESOURCE_TYPES
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
"""Types a body of which is valid in R4 exactly if it is in R4B, newer data types in extensions aside."""

SAME_IN_R5 = frozenset({"Observation", "Patient"})
"""Types convertible between R4/R4B and R5."""

_ALIKE = frozenset(
    {
        *("Address", "Age", "Annotation", "Base64Binary", "Boolean", "Canonical", "Code", "CodeableConcept"),
        *("Coding", "ContactPoint", "Count", "Date", "DateTime", "Decimal", "Distance", "Duration"),
        *("HumanName", "Id", "Identifier", "Instant", "Integer", "Markdown", "Money", "Oid", "Period"),
        *("PositiveInt", "Quantity", "Range", "Ratio", "Reference", "SampledData", "String", "Time"),
        *("Timing", "UnsignedInt", "Uri", "Url", "Uuid"),
    }
)
"""Data types a value[x] may have in every release; all but SampledData are written alike."""

_R5_OBSERVATION = frozenset(
    {
        *("triggeredBy", "instantiatesCanonical", "_instantiatesCanonical", "instantiatesReference"),
        *("bodyStructure", "valueAttachment", "valueReference"),
    }
)
_R5_COMPONENT = frozenset({"valueAttachment", "valueReference"})
_MS_EXPONENT = {"ms": 0, "s": 3, "us": -3, "ns": -6}
_VALUES = re.compile(rb'"_?value([A-Z][A-Za-z0-9]*)"\s*:')
_REFERENCES = re.compile(
    rb'"reference"\s*:\s*"(?:[^"]*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[^"/]+)?"'
)
_R4B_DATATYPES = (b'"valueCodeableReference"', b'"valueRatioRange"')


def can_convert(resource_type: str, source: Release, target: Release) -> bool:
    """Whether resources of the type convert in general; a single one may still use what the target can't hold."""
    if source is target:
        return resource_type in RESOURCE_TYPES[source]
    if Release.R5 not in {source, target}:
        return resource_type in SAME_IN_R4_AND_R4B
    return resource_type in SAME_IN_R5


def convert(body: bytes, resource_type: str, source: Release, target: Release) -> bytes | None:
    """The resource in the target release, or None where there is no conversion without loss.

    `body` must be valid in the source release.
    """
    if source is target:
        return body
    if not can_convert(resource_type, source, target):
        return None
    if b'"contained"' in body and not _contained_is_alike(body, source, target):
        return None
    if Release.R5 not in {source, target}:
        return None if any(name in body for name in _R4B_DATATYPES) else body
    if not _values_are_alike(body) or not _references_exist(body, target):
        return None
    if resource_type == "Patient":
        return None if b'"photo"' in body else body
    if target is not Release.R5 and _has_r5_elements(body):
        return None
    return _with_sampled_data(body, target)


def _contained_is_alike(body: bytes, source: Release, target: Release) -> bool:
    """Whether the contained resources are the same bytes in the target."""
    for resource in items(members(body).get("contained", b"[]")):
        kind = orjson.loads(members(resource).get("resourceType", b'""'))
        if convert(resource, kind, source, target) != resource:
            return False
    return True


def _values_are_alike(body: bytes) -> bool:
    return all(match[1].decode() in _ALIKE for match in _VALUES.finditer(body))


def _references_exist(body: bytes, target: Release) -> bool:
    """Whether each resource type referred to is one in the target: R5 has no Media, R4 no GenomicStudy."""
    return all(match[1].decode() in RESOURCE_TYPES[target] for match in _REFERENCES.finditer(body))


def _has_r5_elements(body: bytes) -> bool:
    observation = members(body)
    if not _R5_OBSERVATION.isdisjoint(observation) or b'"normalValue"' in body:
        return True
    components = items(observation.get("component", b"[]"))
    return any(not _R5_COMPONENT.isdisjoint(members(component)) for component in components)


def _with_sampled_data(body: bytes, target: Release) -> bytes | None:
    """The Observation with its own and its components' SampledData rewritten; elsewhere (extensions) it can't be."""
    waiting = body.count(b'"valueSampledData"')
    if not waiting:
        return body
    observation = members(body)
    parts = [observation]
    components = [members(component) for component in items(observation.get("component", b"[]"))]
    for holder in parts + components:
        if "valueSampledData" in holder:
            rewritten = _sampled_data(holder["valueSampledData"], target)
            if rewritten is None:
                return None
            holder["valueSampledData"] = rewritten
            waiting -= 1
    if waiting:
        return None
    if components:
        observation["component"] = b"[" + b",".join(join(component) for component in components) + b"]"
    return join(observation)


def _sampled_data(value: bytes, target: Release) -> bytes | None:
    """R4 `period` is in ms; R5 has `interval` in a unit of its own."""
    given = members(value)
    if target is Release.R5:
        if "period" not in given:
            return None
        written: dict[str, bytes] = {}
        for name, raw in given.items():
            written[{"period": "interval", "_period": "_interval"}.get(name, name)] = raw
            if name == "period":
                written["intervalUnit"] = b'"ms"'
        return join(written)
    if not {"codeMap", "offsets", "_offsets", "_intervalUnit"}.isdisjoint(given) or "interval" not in given:
        return None
    exponent = _MS_EXPONENT.get(orjson.loads(given.pop("intervalUnit", b"null")))
    if exponent is None:
        return None
    if exponent:
        given["interval"] = f"{Decimal(given['interval'].decode()).scaleb(exponent):f}".encode()
    return join(
        {{"interval": "period", "_interval": "_period"}.get(name, name): raw for name, raw in given.items()}
    )
