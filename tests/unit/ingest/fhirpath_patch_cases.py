"""What operations of a FHIRPath Patch make of a Patient: description, operation, result."""

from typing import Any

from tests.unit.ingest.fhirpath_patches import Operation, operation

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "birthDate": "1920-01-01",
    "deceasedBoolean": False,
    "name": [
        {"family": "A", "given": ["x", "y"], "_given": [None, {"id": "of-y"}]},
        {"use": "old", "family": "B"},
    ],
    "identifier": [{"value": "0"}, {"value": "1"}, {"value": "2"}, {"value": "3"}],
    "contact": [{"gender": "male", "name": {"text": "C"}}],
    "extension": [{"url": "urn:u", "valueString": "s"}],
}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in PATIENT.items() if name not in names}


def contact(**members: Any) -> dict[str, Any]:
    return {"contact": [PATIENT["contact"][0] | members]}


def first_name(**members: Any) -> dict[str, Any]:
    return {"name": [PATIENT["name"][0] | members, PATIENT["name"][1]]}


def identifiers(*values: str) -> dict[str, Any]:
    return {"identifier": [{"value": value} for value in values]}


NAME = {"valueHumanName": {"text": "N"}}
CASES: list[tuple[str, Operation, dict[str, Any]]] = [
    (
        "a primitive is replaced",
        operation("replace", "Patient.birthDate", value={"valueDate": "1930"}),
        PATIENT | {"birthDate": "1930"},
    ),
    ("a primitive is deleted", operation("delete", "Patient.birthDate"), without("birthDate")),
    (
        "a primitive is added",
        operation("add", "Patient", name="gender", value={"valueCode": "male"}),
        PATIENT | {"gender": "male"},
    ),
    ("what is absent is deleted without an error", operation("delete", "Patient.gender"), PATIENT),
    (
        "a nested primitive is replaced",
        operation("replace", "Patient.contact[0].gender", value={"valueCode": "female"}),
        PATIENT | contact(gender="female"),
    ),
    (
        "a nested primitive is deleted",
        operation("delete", "Patient.contact[0].gender"),
        PATIENT | {"contact": [{"name": {"text": "C"}}]},
    ),
    (
        "a nested element is added",
        operation("add", "Patient.contact[0]", name="address", value={"valueAddress": {"city": "D"}}),
        PATIENT | contact(address={"city": "D"}),
    ),
    (
        "a complex element is replaced",
        operation("replace", "Patient.contact[0].name", value=NAME),
        PATIENT | contact(name={"text": "N"}),
    ),
    (
        "a complex element is deleted",
        operation("delete", "Patient.contact.name"),
        PATIENT | {"contact": [{"gender": "male"}]},
    ),
    (
        "the first of a list is added as a list",
        operation("add", "Patient", name="telecom", value={"valueContactPoint": {"value": "1"}}),
        PATIENT | {"telecom": [{"value": "1"}]},
    ),
    (
        "an element of a type without a name is built from parts",
        operation(
            "add",
            "Patient",
            name="contact",
            value={
                "part": [
                    {"name": "name", **NAME},
                    {"name": "telecom", "valueContactPoint": {"value": "1"}},
                    {"name": "telecom", "valueContactPoint": {"value": "2"}},
                ]
            },
        ),
        PATIENT
        | {
            "contact": [
                *PATIENT["contact"],
                {"name": {"text": "N"}, "telecom": [{"value": "1"}, {"value": "2"}]},
            ]
        },
    ),
    (
        "parts have parts",
        operation(
            "replace",
            "Patient.contact[0]",
            value={"part": [{"name": "period", "part": [{"name": "start", "valueDateTime": "2020"}]}]},
        ),
        PATIENT | {"contact": [{"period": {"start": "2020"}}]},
    ),
    (
        "an element of a list is appended",
        operation("add", "Patient", name="identifier", value={"valueIdentifier": {"value": "4"}}),
        PATIENT | identifiers("0", "1", "2", "3", "4"),
    ),
    (
        "an element is inserted into a list",
        operation("insert", "Patient.identifier", value={"valueIdentifier": {"value": "n"}}, index=1),
        PATIENT | identifiers("0", "n", "1", "2", "3"),
    ),
    (
        "an element is inserted at the end of a list",
        operation("insert", "Patient.identifier", value={"valueIdentifier": {"value": "n"}}, index=4),
        PATIENT | identifiers("0", "1", "2", "3", "n"),
    ),
    (
        "an element is inserted into a list that is not there",
        operation("insert", "Patient.telecom", value={"valueContactPoint": {"value": "1"}}, index=0),
        PATIENT | {"telecom": [{"value": "1"}]},
    ),
    (
        "an element is moved down its list",
        operation("move", "Patient.identifier", source=0, destination=2),
        PATIENT | identifiers("1", "2", "0", "3"),
    ),
    (
        "an element is moved up its list",
        operation("move", "Patient.identifier", source=3, destination=0),
        PATIENT | identifiers("3", "0", "1", "2"),
    ),
    (
        "an element of a list is deleted",
        operation("delete", "Patient.identifier[2]"),
        PATIENT | identifiers("0", "1", "3"),
    ),
    (
        "an element of a list is replaced in its place",
        operation("replace", "Patient.identifier[1]", value={"valueIdentifier": {"value": "n"}}),
        PATIENT | identifiers("0", "n", "2", "3"),
    ),
    (
        "the last element of a list takes the list along",
        operation("delete", "Patient.extension[0]"),
        without("extension"),
    ),
    (
        "where() selects",
        operation("delete", "Patient.identifier.where(value = '2' and value.length() = 1)"),
        PATIENT | identifiers("0", "1", "3"),
    ),
    (
        "where() selects primitives",
        operation("delete", "Patient.name[0].given.where($this = 'x')"),
        PATIENT | {"name": [{"family": "A", "given": ["y"], "_given": [{"id": "of-y"}]}, PATIENT["name"][1]]},
    ),
    (
        "a bracket and a quote in a text of where() belong to the text",
        operation("delete", r"Patient.name.where(family = 'B' and family != ')\'(').use"),
        PATIENT | {"name": [PATIENT["name"][0], {"family": "B"}]},
    ),
    (
        "first() and last() select",
        operation("replace", "Patient.name.last().use.first()", value={"valueCode": "nickname"}),
        PATIENT | {"name": [PATIENT["name"][0], {"use": "nickname", "family": "B"}]},
    ),
    ("extension() selects", operation("delete", "Patient.extension('urn:u')"), without("extension")),
    (
        "a path without the type starts at the resource",
        operation("delete", "birthDate"),
        without("birthDate"),
    ),
    ("%resource is the resource", operation("delete", "%resource.birthDate"), without("birthDate")),
    (
        "a choice is replaced by another type",
        operation("replace", "Patient.deceased", value={"valueDateTime": "2020"}),
        without("deceasedBoolean") | {"deceasedDateTime": "2020"},
    ),
    (
        "a choice is added by its name and type",
        operation("add", "Patient", name="multipleBirth", value={"valueInteger": 2}),
        PATIENT | {"multipleBirthInteger": 2},
    ),
    (
        "ofType() selects a choice",
        operation("delete", "Patient.deceased.ofType(boolean)"),
        without("deceasedBoolean"),
    ),
    (
        "an extension is added to a primitive",
        operation("add", "Patient.birthDate", name="extension", value={"valueExtension": {"url": "urn:e"}}),
        PATIENT | {"_birthDate": {"extension": [{"url": "urn:e"}]}},
    ),
    (
        "an extension is added to a primitive in a list",
        operation("add", "Patient.name[0].given[0]", name="id", value={"valueString": "of-x"}),
        PATIENT | first_name(_given=[{"id": "of-x"}, {"id": "of-y"}]),
    ),
    (
        "ids and extensions of primitives move along",
        operation("move", "Patient.name[0].given", source=1, destination=0),
        PATIENT | first_name(given=["y", "x"], _given=[{"id": "of-y"}, None]),
    ),
    (
        "a value may be an extension alone",
        operation("replace", "Patient.name[0].given[0]", value={"_valueString": {"id": "q"}}),
        PATIENT | first_name(given=[None, "y"], _given=[{"id": "q"}, {"id": "of-y"}]),
    ),
    (
        "a resource is added as contained",
        operation(
            "add", "Patient", name="contained", value={"resource": {"resourceType": "Group", "id": "g"}}
        ),
        PATIENT | {"contained": [{"resourceType": "Group", "id": "g"}]},
    ),
]
