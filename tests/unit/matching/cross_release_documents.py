"""Resources of the convertible types, written by hand in R4 and in R5."""

from typing import Any

Document = dict[str, Any]


def concept(code: str, system: str = "http://codes.example") -> Document:
    return {"coding": [{"system": system, "code": code}]}


def to(text: str) -> Document:
    return {"reference": text}


def quantity(value: float, unit: str) -> Document:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


META = {
    "lastUpdated": "2024-05-06T07:08:09Z",
    "profile": ["http://profiles.example/p"],
    "source": "http://source.example/s",
    "tag": [{"system": "http://tags.example", "code": "ward"}],
    "security": [{"system": "http://labels.example", "code": "R"}],
}


PERIOD = {"start": "2024-03-01T08:00:00Z", "end": "2024-03-02T08:00:00Z"}
NAME = [{"family": "Meyer", "given": ["Ana"]}]
TELECOM = [{"system": "phone", "value": "555-1"}, {"system": "email", "value": "ana@example.org"}]
ADDRESS = [
    {
        "use": "home",
        "line": ["Street 1"],
        "city": "Bonn",
        "state": "NW",
        "postalCode": "53111",
        "country": "DE",
    }
]


def head(resource_type: str, identifier: str) -> Document:
    return {
        "resourceType": resource_type,
        "id": "x",
        "meta": META,
        "language": "de",
        "identifier": [{"system": "urn:numbers", "value": identifier}],
    }


_DEVICE = {
    **head("Device", "d1"),
    "status": "active",
    "manufacturer": "Acme",
    "modelNumber": "M1",
    "version": [{"value": "9.1"}],
    "owner": to("Organization/o"),
    "location": to("Location/l"),
    "url": "http://device.example/1",
    "serialNumber": "SN1",
    "lotNumber": "L1",
    "manufactureDate": "2024-01-02",
    "expirationDate": "2030-01-02",
    "parent": to("Device/whole"),
    "udiCarrier": [
        {
            "deviceIdentifier": "udi-1",
            "issuer": "http://hl7.org/fhir/NamingSystem/gs1-di",
            "carrierHRF": "(01)udi-1",
        }
    ],
}


_METRIC = {**head("DeviceMetric", "m1"), "type": concept("heart-rate"), "category": "measurement"}
_REPORT = {
    **head("DiagnosticReport", "r1"),
    "status": "final",
    "basedOn": [to("ServiceRequest/s")],
    "category": [concept("LAB")],
    "code": concept("panel"),
    "subject": to("Patient/p"),
    "encounter": to("Encounter/e"),
    "effectiveDateTime": "2024-03-10",
    "issued": "2024-03-11T08:00:00Z",
    "performer": [to("Organization/o")],
    "resultsInterpreter": [to("Practitioner/i")],
    "specimen": [to("Specimen/s")],
    "result": [to("Observation/o")],
    "conclusionCode": [concept("positive")],
}


_ENCOUNTER = {
    **head("Encounter", "e1"),
    "type": [concept("surgery")],
    "subject": to("Patient/p"),
    "episodeOfCare": [to("EpisodeOfCare/c")],
    "basedOn": [to("ServiceRequest/s")],
    "appointment": [to("Appointment/a")],
    "length": quantity(90, "min"),
    "account": [to("Account/a")],
    "serviceProvider": to("Organization/o"),
    "partOf": to("Encounter/stay"),
}


_PLACE = {"location": to("Location/ward"), "period": PERIOD}
_OBSERVATION = {
    **head("Observation", "o1"),
    "status": "final",
    "basedOn": [to("CarePlan/c")],
    "partOf": [to("Procedure/p")],
    "category": [concept("vital-signs")],
    "code": concept("8867-4", "http://loinc.org"),
    "subject": to("Patient/p"),
    "focus": [to("Device/f")],
    "encounter": to("Encounter/e"),
    "effectiveDateTime": "2024-03-10T08:00:00Z",
    "performer": [to("Practitioner/d")],
    "method": concept("oximetry"),
    "specimen": to("Specimen/s"),
    "device": to("DeviceMetric/m"),
    "hasMember": [to("Observation/part")],
    "derivedFrom": [to("DocumentReference/d")],
    "component": [
        {"code": concept("systolic"), "valueQuantity": quantity(142, "mm[Hg]")},
        {"code": concept("position"), "valueCodeableConcept": concept("sitting")},
        {"code": concept("missing"), "dataAbsentReason": concept("error")},
    ],
}


_PATIENT = {
    **head("Patient", "p1"),
    "active": True,
    "name": NAME,
    "telecom": TELECOM,
    "gender": "female",
    "birthDate": "1980-05-01",
    "deceasedDateTime": "2024-01-02",
    "address": ADDRESS,
    "communication": [{"language": concept("de", "urn:ietf:bcp:47")}],
    "generalPractitioner": [to("Practitioner/g")],
    "managingOrganization": to("Organization/o"),
    "link": [{"other": to("RelatedPerson/r"), "type": "seealso"}],
}


_PRACTITIONER = {
    **head("Practitioner", "n1"),
    "active": True,
    "name": NAME,
    "telecom": TELECOM,
    "address": ADDRESS,
    "gender": "female",
    "qualification": [
        {"identifier": [{"system": "urn:q", "value": "q1"}], "code": concept("MD"), "period": PERIOD}
    ],
}


_RATE = {**_OBSERVATION, "valueQuantity": quantity(91, "/min")}
_KIND = {**_OBSERVATION, "valueCodeableConcept": {**concept("yes"), "text": "jawohl"}}
_TEXT = {**_OBSERVATION, "valueString": "clear"}
_TIME = {**_OBSERVATION, "valueDateTime": "2024-02-03"}
_ABSENT = {**_OBSERVATION, "dataAbsentReason": concept("unknown")}


DOCUMENTS: dict[str, tuple[Document, Document]] = {
    "device": (
        {
            **_DEVICE,
            "definition": to("DeviceDefinition/d"),
            "distinctIdentifier": "DI1",
            "deviceName": [{"name": "Pump", "type": "user-friendly-name"}],
            "type": concept("pump"),
            "specialization": [{"systemType": concept("norm"), "version": "2.0"}],
            "patient": to("Patient/p"),
        },
        {
            **_DEVICE,
            "definition": {"concept": concept("class-2"), "reference": to("DeviceDefinition/d")},
            "biologicalSourceEvent": {"value": "DI1"},
            "name": [{"value": "Pump", "type": "user-friendly-name"}],
            "type": [concept("pump")],
            "conformsTo": [{"specification": concept("norm"), "version": "2.0"}],
        },
    ),
    "metric": (
        {**_METRIC, "source": to("Device/d"), "parent": to("Device/whole")},
        {**_METRIC, "device": to("Device/d")},
    ),
    "report": (
        {**_REPORT, "imagingStudy": [to("ImagingStudy/i")], "media": [{"link": to("Media/m")}]},
        {**_REPORT, "study": [to("ImagingStudy/i")], "media": [{"link": to("DocumentReference/m")}]},
    ),
    "report that changed": ({**_REPORT, "status": "preliminary"}, {**_REPORT, "status": "modified"}),
    "stay": (
        {
            **_ENCOUNTER,
            "status": "finished",
            "class": {"system": "http://classes.example", "code": "IMP"},
            "participant": [{"type": [concept("ATND")], "individual": to("Practitioner/d")}],
            "period": PERIOD,
            "reasonCode": [concept("pain")],
            "reasonReference": [to("Condition/r")],
            "diagnosis": [{"condition": to("Condition/d")}],
            "hospitalization": {"specialArrangement": [concept("wheel")]},
            "location": [_PLACE],
        },
        {
            **_ENCOUNTER,
            "status": "completed",
            "class": [concept("IMP", "http://classes.example")],
            "participant": [{"type": [concept("ATND")], "actor": to("Practitioner/d")}],
            "actualPeriod": PERIOD,
            "reason": [{"value": [{"concept": concept("pain")}, {"reference": to("Condition/r")}]}],
            "diagnosis": [
                {"condition": [{"reference": to("Condition/d")}, {"concept": concept("fracture")}]}
            ],
            "specialArrangement": [concept("wheel")],
            "subjectStatus": concept("departed"),
            "careTeam": [to("CareTeam/c")],
            "location": [_PLACE],
        },
    ),
    "leave": (
        {**_ENCOUNTER, "status": "onleave", "class": {"code": "IMP"}},
        {**_ENCOUNTER, "status": "on-hold", "class": [{"coding": [{"code": "IMP"}]}]},
    ),
    "arrival": (
        {**_ENCOUNTER, "status": "arrived", "class": {"code": "IMP"}},
        {**_ENCOUNTER, "status": "in-progress", "class": [{"coding": [{"code": "IMP"}]}]},
    ),
    "rate": (_RATE, {**_RATE}),
    "kind": (_KIND, _KIND),
    "text": (_TEXT, _TEXT),
    "time": (_TIME, _TIME),
    "absent": (_ABSENT, _ABSENT),
    "pointer": (_OBSERVATION, {**_OBSERVATION, "valueReference": to("MolecularSequence/v")}),
    "component pointer": (
        _OBSERVATION,
        {**_OBSERVATION, "component": [{"code": concept("c"), "valueReference": to("MolecularSequence/v")}]},
    ),
    "patient": (_PATIENT, _PATIENT),
    "practitioner": (
        {**_PRACTITIONER, "communication": [concept("de", "urn:ietf:bcp:47")]},
        {
            **_PRACTITIONER,
            "communication": [{"language": concept("de", "urn:ietf:bcp:47")}],
            "deceasedDateTime": "2024-01-02",
        },
    ),
}
"""By name: the same thing in R4 and in R5."""


OTHERS: dict[str, tuple[Document, Document]] = {
    "Device": ({"resourceType": "Device", "id": "y"},) * 2,
    "DeviceMetric": (
        {"resourceType": "DeviceMetric", "id": "y", "type": concept("none"), "category": "setting"},
        {
            "resourceType": "DeviceMetric",
            "id": "y",
            "type": concept("none"),
            "category": "setting",
            "device": to("Device/none"),
        },
    ),
    "DiagnosticReport": (
        {"resourceType": "DiagnosticReport", "id": "y", "status": "amended", "code": concept("none")},
    )
    * 2,
    "Encounter": (
        {"resourceType": "Encounter", "id": "y", "status": "planned", "class": {"code": "AMB"}},
        {"resourceType": "Encounter", "id": "y", "status": "planned"},
    ),
    "Observation": ({"resourceType": "Observation", "id": "y", "status": "amended", "code": concept("none")},)
    * 2,
    "Patient": ({"resourceType": "Patient", "id": "y", "deceasedBoolean": False},) * 2,
    "Practitioner": ({"resourceType": "Practitioner", "id": "y", "active": False},) * 2,
}
"""By type: resources of which no filter of `ROWS` must be true."""
