"""Observation: R5 added elements and two types of value; what it changed of a data type (SampledData) is in `complex_types.py`."""

from broker.fhir.conversion.rules import Kind, added

KINDS = (
    Kind(
        "Observation",
        "Observation",
        added(
            "triggeredBy:Observation.triggeredBy* instantiates[x]:canonical|Reference bodyStructure:Reference "
            "value[x]:Attachment|Reference"
        ),
    ),
    Kind("Observation.component", "Observation.component", added("value[x]:Attachment|Reference")),
    Kind("Observation.referenceRange", "Observation.referenceRange", added("normalValue:CodeableConcept")),
)
