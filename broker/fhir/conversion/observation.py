"""Observation: R5 added elements and two types of value; what it changed of a data type (SampledData) is in `complex_types.py`."""

from broker.fhir.conversion.rules import Kind, added

_VALUE = added("value[x]:Attachment|Reference", alternatives=("value", "_value", "dataAbsentReason"))
"""Not restored beside a value of another type, nor beside the reason for having none (obs-6)."""

KINDS = (
    Kind(
        "Observation",
        "Observation",
        (
            *added(
                "triggeredBy:Observation.triggeredBy* instantiates[x]:canonical|Reference bodyStructure:Reference"
            ),
            *_VALUE,
        ),
    ),
    Kind("Observation.component", "Observation.component", _VALUE),
    Kind("Observation.referenceRange", "Observation.referenceRange", added("normalValue:CodeableConcept")),
)
