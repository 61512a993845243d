"""Rules for Observation: R5 added elements and two types of value.

The rules for SampledData are in `complex_types.py`.
"""

from broker.fhir.conversion.type_rules import TypeRules, only_in_r5

_VALUE = only_in_r5("value[x]:Attachment|Reference", alternatives=("value", "_value", "dataAbsentReason"))
"""Not restored beside a value of another type, nor beside a dataAbsentReason (obs-6)."""

TYPE_RULES = (
    TypeRules(
        "Observation",
        "Observation",
        (
            *only_in_r5(
                "triggeredBy:Observation.triggeredBy* instantiates[x]:canonical|Reference "
                "bodyStructure:Reference"
            ),
            *_VALUE,
        ),
    ),
    TypeRules("Observation.component", "Observation.component", _VALUE),
    TypeRules(
        "Observation.referenceRange", "Observation.referenceRange", only_in_r5("normalValue:CodeableConcept")
    ),
)
