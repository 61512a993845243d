"""Pairs of an element in one release and its conversion, where a part of it is kept in extensions."""

from tests.fhir.conversion_cases import ALTERNATE, DATATYPE, V4, V5, Case, extension

TO_R5: list[Case] = [  # R4, R5
    (
        "Encounter",
        {"status": "arrived"},
        {
            "status": "in-progress",
            "_status": {"extension": [extension(V4 + "Encounter.status", valueCode="arrived")]},
        },
    ),
    (
        "Encounter",
        {"statusHistory": [{"status": "triaged", "period": {"start": "2025"}}]},
        {
            "extension": [
                extension(
                    V4 + "Encounter.statusHistory",
                    extension=[
                        extension("status", valueCode="triaged"),
                        extension("period", valuePeriod={"start": "2025"}),
                    ],
                )
            ]
        },
    ),
    (
        "Encounter",
        {"diagnosis": [{"condition": {"reference": "Procedure/1"}, "rank": 2}]},
        {
            "diagnosis": [
                {
                    "condition": [
                        {
                            "reference": {
                                "extension": [
                                    {"url": ALTERNATE, "valueReference": {"reference": "Procedure/1"}}
                                ]
                            }
                        }
                    ],
                    "extension": [extension(V4 + "Encounter.diagnosis.rank", valuePositiveInt=2)],
                }
            ]
        },
    ),
    (
        "Device",
        {"patient": {"reference": "Patient/1"}, "statusReason": [{"text": "off"}]},
        {
            "extension": [
                extension(V4 + "Device.statusReason", valueCodeableConcept={"text": "off"}),
                extension(V4 + "Device.patient", valueReference={"reference": "Patient/1"}),
            ]
        },
    ),
    (
        "Device",
        {"status": "unknown"},
        {"_status": {"extension": [extension(V4 + "Device.status", valueCode="unknown")]}},
    ),
    (
        "DeviceMetric",
        {"parent": {"reference": "Device/2"}},
        {"extension": [extension(V4 + "DeviceMetric.parent", valueReference={"reference": "Device/2"})]},
    ),
    (
        "DeviceMetric",
        {"measurementPeriod": {"event": ["2025-01-02"]}},
        {
            "extension": [
                extension(V4 + "DeviceMetric.measurementPeriod", valueTiming={"event": ["2025-01-02"]})
            ]
        },
    ),
]


TO_R4: list[Case] = [  # R5, R4
    (
        "Encounter",
        {"status": "discharged"},
        {
            "status": "finished",
            "_status": {"extension": [extension(V5 + "Encounter.status", valueCode="discharged")]},
        },
    ),
    (
        "Encounter",
        {"class": [{"text": "inpatient"}]},
        {
            "class": {"display": "inpatient"},
            "extension": [extension(V5 + "Encounter.class", valueCodeableConcept={"text": "inpatient"})],
        },
    ),
    (
        "Encounter",
        {"plannedStartDate": "2025-01-02"},
        {"extension": [extension(V5 + "Encounter.plannedStartDate", valueDateTime="2025-01-02")]},
    ),
    (
        "Encounter",
        {"reason": [{"use": [{"text": "CC"}], "value": [{"concept": {"text": "pain"}}]}]},
        {
            "reasonCode": [{"text": "pain"}],
            "extension": [
                extension(
                    V5 + "Encounter.reason",
                    extension=[
                        extension("use", valueCodeableConcept={"text": "CC"}),
                        extension(
                            "value",
                            extension=[
                                extension(DATATYPE, valueString="CodeableReference"),
                                extension("concept", valueCodeableConcept={"text": "pain"}),
                            ],
                        ),
                    ],
                )
            ],
        },
    ),
    (
        "Encounter",
        {"participant": [{"actor": {"reference": "Device/1"}}]},
        {
            "participant": [
                {
                    "individual": {
                        "extension": [{"url": ALTERNATE, "valueReference": {"reference": "Device/1"}}]
                    }
                }
            ]
        },
    ),
    (
        "Device",
        {"type": [{"text": "a"}, {"text": "b"}]},
        {
            "type": {"text": "a"},
            "extension": [
                extension(V5 + "Device.type", valueCodeableConcept={"text": text}) for text in "ab"
            ],
        },
    ),
    (
        "Device",
        {"name": [{"value": "n", "type": "registered-name", "display": True}]},
        {
            "deviceName": [
                {
                    "name": "n",
                    "type": "udi-label-name",
                    "extension": [extension(V5 + "Device.name.display", valueBoolean=True)],
                }
            ]
        },
    ),
    (
        "Device",
        {"property": [{"type": {"text": "t"}, "valueString": "v"}]},
        {
            "property": [
                {
                    "type": {"text": "t"},
                    "extension": [extension(V5 + "Device.property.value", valueString="v")],
                }
            ]
        },
    ),
    (
        "DeviceMetric",
        {"color": "orange"},
        {"_color": {"extension": [extension(V5 + "DeviceMetric.color", valueCode="orange")]}},
    ),
    (
        "Observation",
        {"triggeredBy": [{"observation": {"reference": "Observation/1"}, "type": "reflex"}]},
        {
            "extension": [
                extension(
                    V5 + "Observation.triggeredBy",
                    extension=[
                        extension("observation", valueReference={"reference": "Observation/1"}),
                        extension("type", valueCode="reflex"),
                    ],
                )
            ]
        },
    ),
    (
        "Observation",
        {"valueAttachment": {"size": "99999999999"}},
        {
            "extension": [
                extension(
                    V5 + "Observation.value",
                    valueAttachment={
                        "extension": [
                            extension(
                                V5 + "Attachment.size",
                                extension=[
                                    extension(DATATYPE, valueString="integer64"),
                                    extension("value", valueString="99999999999"),
                                ],
                            )
                        ]
                    },
                )
            ]
        },
    ),
    (
        "Observation",
        {"valueQuantity": {"value": 5, "comparator": "ad"}},
        {
            "valueQuantity": {
                "value": 5,
                "_comparator": {"extension": [extension(V5 + "Quantity.comparator", valueCode="ad")]},
            }
        },
    ),
    (
        "Observation",
        {
            "instantiatesCanonical": "http://x",
            "referenceRange": [{"text": "r", "normalValue": {"text": "n"}}],
        },
        {
            "referenceRange": [
                {
                    "text": "r",
                    "extension": [
                        extension(
                            V5 + "Observation.referenceRange.normalValue", valueCodeableConcept={"text": "n"}
                        )
                    ],
                }
            ],
            "extension": [extension(V5 + "Observation.instantiates", valueCanonical="http://x")],
        },
    ),
    (
        "Practitioner",
        {"communication": [{"language": {"text": "de"}, "preferred": True}], "deceasedBoolean": False},
        {
            "communication": [{"text": "de"}],
            "extension": [
                extension(
                    V5 + "Practitioner.communication",
                    extension=[
                        extension("language", valueCodeableConcept={"text": "de"}),
                        extension("preferred", valueBoolean=True),
                    ],
                ),
                extension(V5 + "Practitioner.deceased", valueBoolean=False),
            ],
        },
    ),
    (
        "DiagnosticReport",
        {"status": "modified", "composition": {"reference": "Composition/1"}},
        {
            "status": "preliminary",
            "_status": {"extension": [extension(V5 + "DiagnosticReport.status", valueCode="modified")]},
            "extension": [
                extension(V5 + "DiagnosticReport.composition", valueReference={"reference": "Composition/1"})
            ],
        },
    ),
]
