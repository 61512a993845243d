"""The resource types of each release. Validation, the adapters of the releases and conversion use them."""

from collections.abc import Mapping

from broker.model.release import Release

_EVERYWHERE = """
Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic
Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam ChargeItem
ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest
CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest
CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric DeviceRequest
DiagnosticReport DocumentReference Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare
EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag Goal
GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy Immunization ImmunizationEvaluation
ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure
MeasureReport Medication MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest
MedicationStatement MessageDefinition MessageHeader MolecularSequence NamingSystem NutritionOrder
Observation ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation
Parameters Patient PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole
Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson ResearchStudy ResearchSubject
RiskAssessment Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition
StructureMap Subscription Substance SupplyDelivery SupplyRequest Task TerminologyCapabilities TestReport
TestScript ValueSet VerificationResult VisionPrescription
"""
_R4_AND_R4B = """
CatalogEntry DeviceUseStatement DocumentManifest Media RequestGroup ResearchDefinition
ResearchElementDefinition
"""
_R4_ONLY = """
EffectEvidenceSynthesis MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication
MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction
MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical
MedicinalProductUndesirableEffect RiskEvidenceSynthesis SubstanceSpecification
"""
_R4_AND_R5 = """
SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial
"""
_R4B_AND_R5 = """
AdministrableProductDefinition Citation ClinicalUseDefinition EvidenceReport Ingredient
ManufacturedItemDefinition MedicinalProductDefinition NutritionProduct PackagedProductDefinition
RegulatedAuthorization SubscriptionStatus SubscriptionTopic SubstanceDefinition
"""
_R5_ONLY = """
ActorDefinition ArtifactAssessment BiologicallyDerivedProductDispense ConditionDefinition DeviceAssociation
DeviceDispense DeviceUsage EncounterHistory FormularyItem GenomicStudy ImagingSelection InventoryItem
InventoryReport NutritionIntake Permission RequestOrchestration Requirements TestPlan Transport
"""
RESOURCE_TYPES: Mapping[Release, frozenset[str]] = {
    Release.R4: frozenset((_EVERYWHERE + _R4_AND_R4B + _R4_ONLY + _R4_AND_R5).split()),
    Release.R4B: frozenset((_EVERYWHERE + _R4_AND_R4B + _R4B_AND_R5).split()),
    Release.R5: frozenset((_EVERYWHERE + _R4_AND_R5 + _R4B_AND_R5 + _R5_ONLY).split()),
}
"""The concrete resource types of each release."""

UNMODELLED = frozenset((_R4_ONLY + _R4_AND_R5).split()) | {"Evidence", "EvidenceVariable"}
"""R4 types that R4B removed or restructured: `elements.tsv` has no row for their R4 structure."""
