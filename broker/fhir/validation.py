"""Whether a body is a resource of its type and release: structure, required elements, and the codes we rely on.

Structure comes from fhir.resources, whose classes are imported when first needed; `recognizer.py` spares most resources
its cost. It has R5 and R4B; R4 is read with the R4B classes, and the few types that differ there get the light checks
only. What the library lets pass and the rest of the broker relies on is checked here: JSON types (a number in quotes is
no number), nulls, empty elements, required codes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, cast

from fhir.resources import get_fhir_model_class as find_r5
from fhir.resources.R4B import get_fhir_model_class as find_r4b
from pydantic import BaseModel, ValidationError

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.documents import parse
from broker.fhir.recognizer import recognizer, recognizes
from broker.model.release import Release

_EVERYWHERE = """
Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic Binary
BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam ChargeItem ChargeItemDefinition
Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest CompartmentDefinition Composition
ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue
Device DeviceDefinition DeviceMetric DeviceRequest DiagnosticReport DocumentReference Encounter Endpoint
EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario
ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService
ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice
Library Linkage List Location Measure MeasureReport Medication MedicationAdministration MedicationDispense
MedicationKnowledge MedicationRequest MedicationStatement MessageDefinition MessageHeader MolecularSequence
NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition OperationOutcome Organization
OrganizationAffiliation Parameters Patient PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner
PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson ResearchStudy ResearchSubject
RiskAssessment Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition
StructureMap Subscription Substance SupplyDelivery SupplyRequest Task TerminologyCapabilities TestReport TestScript
ValueSet VerificationResult VisionPrescription
"""
_R4_AND_R4B = """
CatalogEntry DeviceUseStatement DocumentManifest Media RequestGroup ResearchDefinition ResearchElementDefinition
"""
_R4_ONLY = """
EffectEvidenceSynthesis MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication
MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured
MedicinalProductPackaged MedicinalProductPharmaceutical MedicinalProductUndesirableEffect RiskEvidenceSynthesis
SubstanceSpecification
"""
_R4_AND_R5 = """
SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial
"""
_R4B_AND_R5 = """
AdministrableProductDefinition Citation ClinicalUseDefinition EvidenceReport Ingredient ManufacturedItemDefinition
MedicinalProductDefinition NutritionProduct PackagedProductDefinition RegulatedAuthorization SubscriptionStatus
SubscriptionTopic SubstanceDefinition
"""
_R5_ONLY = """
ActorDefinition ArtifactAssessment BiologicallyDerivedProductDispense ConditionDefinition DeviceAssociation
DeviceDispense DeviceUsage EncounterHistory FormularyItem GenomicStudy ImagingSelection InventoryItem InventoryReport
NutritionIntake Permission RequestOrchestration Requirements TestPlan Transport
"""
RESOURCE_TYPES: Mapping[Release, frozenset[str]] = {
    Release.R4: frozenset((_EVERYWHERE + _R4_AND_R4B + _R4_ONLY + _R4_AND_R5).split()),
    Release.R4B: frozenset((_EVERYWHERE + _R4_AND_R4B + _R4B_AND_R5).split()),
    Release.R5: frozenset((_EVERYWHERE + _R4_AND_R5 + _R4B_AND_R5 + _R5_ONLY).split()),
}
"""The concrete resource types of each release."""

UNMODELLED = frozenset((_R4_ONLY + _R4_AND_R5).split()) | {"Evidence", "EvidenceVariable"}
"""R4 types that R4B dropped or rebuilt: no class knows their R4 structure."""

_OBSERVATION = frozenset(
    "registered preliminary final amended corrected cancelled entered-in-error unknown".split()  # noqa: SIM905 reads as the value set
)
_OPERATIONAL = frozenset({"on", "off", "standby", "entered-in-error"})
_METRIC = frozenset({"measurement", "setting", "calculation", "unspecified"})
_GENDER = frozenset({"male", "female", "other", "unknown"})
_DEVICE_R5 = frozenset({"active", "inactive", "entered-in-error"})
_ENCOUNTER_R5 = frozenset(
    {
        *("planned", "in-progress", "on-hold", "discharged", "completed", "cancelled", "discontinued"),
        *("entered-in-error", "unknown"),
    }
)
_ENCOUNTER_R4 = frozenset(
    {
        *("planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled"),
        *("entered-in-error", "unknown"),
    }
)
_CODES_EVERYWHERE: Mapping[str, Mapping[str, frozenset[str]]] = {
    "Observation": {"status": _OBSERVATION},
    "DeviceMetric": {"category": _METRIC, "operationalStatus": _OPERATIONAL},
    "Patient": {"gender": _GENDER},
}
_CODES_R4 = {
    **_CODES_EVERYWHERE,
    "Encounter": {"status": _ENCOUNTER_R4},
    "Device": {"status": _DEVICE_R5 | {"unknown"}},
}
_CODES: Mapping[Release, Mapping[str, Mapping[str, frozenset[str]]]] = {
    Release.R4: _CODES_R4,
    Release.R4B: _CODES_R4,
    Release.R5: {
        **_CODES_EVERYWHERE,
        "Encounter": {"status": _ENCOUNTER_R5},
        "Device": {"status": _DEVICE_R5},
    },
}
_NESTED = (".resource", ".outcome")
_EMPTY = re.compile(rb"[{\[]\s*[}\]]")
"""Found in the text of every resource that holds an empty element, and in few others."""
_INTEGER64 = frozenset({"size", "eventsSinceSubscriptionStart", "eventNumber", "valueInteger64"})
"""Elements that R5 writes as a number in quotes (R-221)."""

_COMMON_DATATYPES = (
    *(
        "Address",
        "Annotation",
        "CodeableConcept",
        "Coding",
        "ContactPoint",
        "Extension",
        "HumanName",
        "Identifier",
    ),
    *("Meta", "Narrative", "Period", "Quantity", "Range", "Reference", "SampledData"),
)
_STRUCTURE_ERRORS = frozenset(
    {"extra_forbidden", "list_type", "dict_type", "model_type", "model_validation_format"}
)


def validate(release: Release, resource_type: str, body: bytes) -> None:
    """Returns if the body is a valid resource of the type.

    Raises `Malformed` if it is no JSON object, `Unprocessable` with one issue per problem found.
    """
    resource = parse(body)
    issues = list(_light(release, resource_type, resource, body))
    if not issues and not (release is Release.R4 and resource_type in UNMODELLED):
        issues = list(_structure(release, resource_type, resource, body))
    if issues:
        raise Unprocessable(*issues)


def prepare(release: Release, types: Iterable[str]) -> None:
    """Imports the classes of the types and makes their recognizers, so that the first request of each doesn't wait for it."""
    for name in (*_COMMON_DATATYPES, *types):
        if not (release is Release.R4 and name in UNMODELLED):
            model = _model(release, name)
            if name in RESOURCE_TYPES[release]:
                recognizer(model)


@cache
def _model(release: Release, name: str) -> type[BaseModel]:
    find = cast("Callable[[str], type[BaseModel]]", find_r5 if release is Release.R5 else find_r4b)
    return find(name)


def _light(release: Release, resource_type: str, resource: Mapping[str, Any], body: bytes) -> Iterator[Issue]:
    """What holds for every type. The text tells at once that most resources have nothing empty and nothing inside."""
    given = resource.get("resourceType")
    if resource_type not in RESOURCE_TYPES[release]:
        yield Issue("not-supported", f"{resource_type!r} is no resource type of {release}", "resourceType")
        return
    if given != resource_type:
        text = (
            f"resourceType is {given!r}, expected {resource_type!r}" if given else "resourceType is missing"
        )
        yield Issue("invalid" if given else "required", text, "resourceType")
        return
    if b"null" in body or _EMPTY.search(body):
        yield from _absent(resource, resource_type)
    if b"\\" in body or b'"contained"' in body or body.count(b'"resourceType"') > 1:
        yield from _unknown_types(release, resource, resource_type)
    for element, codes in _CODES[release].get(resource_type, {}).items():
        code = resource.get(element)
        if isinstance(code, str) and code not in codes:
            text = f"{code!r} is no {element} of {release}; allowed are {', '.join(sorted(codes))}"
            yield Issue("value", text, f"{resource_type}.{element}")
    if resource_type == "Observation" and "dataAbsentReason" in resource:
        values = [name for name in resource if name.startswith("value")]
        if values:
            text = f"dataAbsentReason stands for a missing value, but {values[0]} is there (obs-6)"
            yield Issue("invalid", text, "Observation.dataAbsentReason")


def _absent(node: object, path: str) -> Iterator[Issue]:
    """Elements that are there but hold nothing: FHIR has no empty elements, and null only as a place-holder in arrays."""
    for place, value in _children(node, path):
        if isinstance(value, dict | list):
            yield from _absent(value, place) if value else (_empty(place),)
        elif value is None and isinstance(node, dict):
            yield Issue("structure", "null is no value: leave the element out", place)


def _empty(path: str) -> Issue:
    return Issue("structure", "an element may not be empty: leave it out", path)


def _unknown_types(release: Release, resource: Mapping[str, Any], path: str) -> Iterator[Issue]:
    """Resources inside the resource (contained, Bundle entries, Parameters) whose type the release lacks."""
    for place, inner in _inside(resource, path):
        yield from _unknown_type(release, inner, place)


def _inside(node: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for step, value in _children(node, path):
        if isinstance(value, dict):
            is_contained = isinstance(node, list) and path.endswith(".contained")
            if is_contained or ("resourceType" in value and step.endswith(_NESTED)):
                yield step, value
        if isinstance(value, dict | list):
            yield from _inside(value, step)


def _children(node: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{path}.{name}", value
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield f"{path}[{n}]", value


def _unknown_type(release: Release, resource: dict[str, Any], path: str) -> Iterator[Issue]:
    kind = resource.get("resourceType")
    if kind is None:
        yield Issue("required", "a contained resource needs its resourceType", f"{path}.resourceType")
    elif not isinstance(kind, str) or kind not in RESOURCE_TYPES[release]:
        yield Issue("structure", f"{kind!r} is no resource type of {release}", f"{path}.resourceType")


def _structure(
    release: Release, resource_type: str, resource: Mapping[str, Any], body: bytes
) -> Iterator[Issue]:
    kind = _model(release, resource_type)
    if recognizes(kind, body):
        return
    try:
        model = kind.model_validate_json(body)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            yield _issue(resource_type, detail["type"], detail["loc"], detail["msg"])
    except KeyError:
        # the library looks a contained type up in the classes of its release; `_light` made sure that the release has it,
        # so it is one of UNMODELLED inside another type, whose structure nothing here knows
        return
    except RecursionError:
        raise Malformed(Issue("structure", "the resource nests too deep to be checked")) from None
    else:
        yield from _mistyped(model, resource, resource_type)


def _issue(resource_type: str, kind: str, where: tuple[int | str, ...], message: str) -> Issue:
    path = resource_type
    for step in where:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "root":
            path += f".{step.removesuffix('_fhir')}"
    text = " ".join(message.removeprefix("Value error, ").split())
    if kind == "missing" or kind.endswith(".missing"):
        return Issue("required", f"{path} is required", path)
    if kind == "extra_forbidden":
        return Issue("structure", f"{path} is no element of this type", path)
    if kind in _STRUCTURE_ERRORS:
        return Issue("structure", f"{path}: {text}", path)
    return Issue("value" if where else "invalid", f"{path}: {text}", path)


def _mistyped(model: object, given: Mapping[str, Any], path: str) -> Iterator[Issue]:
    """Numbers and booleans in quotes, and quotes forgotten: the library reads them, a filter would not."""
    fields = vars(model)
    for name, value in given.items():
        read = fields.get(name)
        if isinstance(value, dict):
            if isinstance(read, BaseModel):
                yield from _mistyped(read, value, f"{path}.{name}")
        elif isinstance(value, list):
            if isinstance(read, list):
                for n, (one, item) in enumerate(zip(read, value, strict=False)):
                    if isinstance(item, dict) and isinstance(one, BaseModel):
                        yield from _mistyped(one, item, f"{path}.{name}[{n}]")
        elif read is not None and name not in _INTEGER64:
            needed = _json_type(read)
            if _json_type(value) != needed:
                yield Issue("value", f"{path}.{name} must be {needed}", f"{path}.{name}")


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false, without quotes"
    return "a number, without quotes" if isinstance(value, int | float | Decimal) else "text in quotes"
