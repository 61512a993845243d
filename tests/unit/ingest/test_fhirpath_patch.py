"""FHIRPath Patch: what each operation does to a Patient and to an Observation, and what is refused."""

import json
from typing import Any

import pytest

from broker.errors import Malformed, RequestError, Unprocessable
from broker.fhir.fhirpath_patch import MAX_OPERATIONS
from broker.fhir.patch_paths import MAX_CRITERIA
from broker.ingest.patches import apply_patch, parse_patch
from broker.model.release import Release
from broker.model.resource import Resource
from tests.unit.ingest.fhirpath_patches import Operation, body, operation

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


def patched(*operations: Operation, of: dict[str, Any] = PATIENT, release: Release = Release.R4) -> Any:
    resource = Resource(json.dumps(of).encode())
    return json.loads(apply_patch(parse_patch(body(*operations)), resource, release).text)


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


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize(("patch", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_operation_changes_the_element_that_its_path_names(
    patch: Operation, expected: dict[str, Any], release: Release
) -> None:
    assert patched(patch, release=release) == expected


def test_operations_see_what_those_before_have_done() -> None:
    result = patched(
        operation("add", "Patient", name="maritalStatus", value={"valueCodeableConcept": {"text": "?"}}),
        operation("add", "Patient.maritalStatus", name="coding", value={"valueCoding": {"code": "M"}}),
        operation("delete", "Patient.maritalStatus.where(coding.code = 'M').text"),
    )
    assert result == PATIENT | {"maritalStatus": {"coding": [{"code": "M"}]}}


def test_numbers_keep_their_spelling() -> None:
    before = (
        b'{"resourceType":"Observation","id":"o","valueQuantity":{"value":1.00},'
        b'"component":[{"valueInteger":1'
    )
    patch = parse_patch(
        Resource(
            b'{"resourceType":"Parameters","parameter":[{"name":"operation","part":['
            b'{"name":"type","valueCode":"add"},{"name":"path","valueString":"Observation.component[0]"},'
            b'{"name":"name","valueString":"referenceRange"},'
            b'{"name":"value","part":[{"name":"low","valueQuantity":{"value":2.50}}]}]}]}'
        )
    )
    result = apply_patch(patch, Resource(before + b"}]}"), Release.R5)
    assert result.text == before + b',"referenceRange":[{"low":{"value":2.50}}]}]}'


@pytest.mark.parametrize(
    "patch",
    [
        operation("delete", "Patient"),
        operation("delete", "Patient.name"),
        operation("delete", "Patient.none"),
        operation("delete", "Patient.deceasedBoolean"),
        operation("delete", "Patient.name.where(family)"),
        operation("delete", "Patient.name.where(repeat(given))"),
        operation("delete", "Patient.name.where(family.matches('(?=a)'))"),
        operation("delete", "Patient.name.where(unknown())"),
        operation("delete", "Patient.descendants()"),
        operation("delete", "Patient.managingOrganization.resolve()"),
        operation("delete", "Patient.name[0"),
        operation("delete", "Patient.name[-1]"),
        operation("delete", "Patient..name"),
        operation("delete", "Patient.name."),
        operation("delete", "Patient.name.where(family = 'B'"),
        operation("delete", "Patient | Patient"),
        operation("delete", "Patient" + ".name" * 300),
        operation("delete", "Patient.name.where(" + "(" * 300 + "true" + ")" * 300 + ")"),
        operation("replace", "Patient", value={"valueString": "x"}),
        operation("replace", "Patient.gender", value={"valueCode": "male"}),
        operation("replace", "Patient.identifier", value={"valueIdentifier": {}}),
        operation("replace", "Patient.deceased", value={"valueQuantity": {}}),
        operation("replace", "Patient.id", value={"valueId": "other"}),
        operation("add", "Patient", name="birthDate", value={"valueDate": "1930"}),
        operation("add", "Patient", name="deceased", value={"valueDateTime": "1930"}),
        operation("add", "Patient", name="resourceType", value={"valueString": "Group"}),
        operation("add", "Patient", name="none", value={"valueString": "x"}),
        operation("add", "Patient.telecom", name="value", value={"valueString": "x"}),
        operation("add", "Patient", name="gender", value={"part": [{"name": "x", "valueString": "x"}]}),
        operation("insert", "Patient.identifier", value={"valueIdentifier": {}}, index=5),
        operation("insert", "Patient.birthDate", value={"valueDate": "1930"}, index=0),
        operation("insert", "Patient.identifier[0]", value={"valueIdentifier": {}}, index=0),
        operation("move", "Patient.identifier", source=0, destination=4),
        operation("move", "Patient.identifier", source=999_999_999, destination=0),
        operation("move", "Patient.telecom", source=0, destination=0),
    ],
)
def test_an_operation_that_cannot_be_applied_is_refused(patch: Operation) -> None:
    with pytest.raises(Unprocessable):
        patched(operation("add", "Patient", name="language", value={"valueCode": "en"}), patch)


def test_the_refusal_names_the_operation() -> None:
    with pytest.raises(Unprocessable) as refused:
        patched(operation("delete", "Patient.gender"), operation("delete", "Patient.name"))
    (issue,) = refused.value.issues
    assert issue.expression == "Parameters.parameter[1]"
    assert issue.text == "delete 'Patient.name' can't be applied: the path names 2 elements. Name one."


def _with_part(**part: Any) -> Operation:
    patch = operation("delete", "Patient.name")
    return {"name": "operation", "part": [*patch["part"], part]}


@pytest.mark.parametrize(
    "parameter",
    [
        {},
        {"name": "other"},
        {"name": "operation"},
        {"name": "operation", "part": {}},
        {"name": "operation", "part": [1]},
        {"name": "operation", "part": [{"valueCode": "add"}]},
        operation("merge", "Patient"),
        operation("add", "Patient"),
        operation("delete", "Patient", index=1),
        operation("insert", "Patient.name", value=NAME, index=-1),
        operation("move", "Patient.name", source=0),
        operation("move", "Patient.name", source=10**30, destination=0),
        _with_part(name="path", valueString="Patient"),
        _with_part(name="other", valueString="Patient"),
        operation("replace", "Patient.name[0]", value={}),
        operation("replace", "Patient.name[0]", value={"valueString": None}),
        operation("replace", "Patient.name[0]", value={"valueString": ["x"]}),
        operation("replace", "Patient.name[0]", value={"valueString": "x", "valueCode": "x"}),
        operation("replace", "Patient.name[0]", value={"valueString": "x", "part": [{"name": "x"}]}),
        operation("replace", "Patient.name[0]", value={"part": []}),
        operation("replace", "Patient.name[0]", value={"resource": "x"}),
        operation("replace", "Patient.name[0]", value={"value": "x"}),
        {
            "name": "operation",
            "part": [{"name": "type", "valueCode": 1}, {"name": "path", "valueString": "a"}],
        },
    ],
)
def test_parameters_that_are_no_patch_are_malformed(parameter: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as refused:
        parse_patch(body(operation("delete", "Patient.gender"), parameter))
    assert all(str(issue.expression).startswith("Parameters.parameter[1]") for issue in refused.value.issues)


@pytest.mark.parametrize(
    "text",
    [
        b'{"resourceType":"Parameters"}',
        b'{"resourceType":"Parameters","parameter":{}}',
        b'{"resourceType":"Parameters","parameter":[1]}',
        b'{"resourceType":"Patient"}',
        b'{"resourceType":"Binary","contentType":"application/json","data":"W10="}',
        b'{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W1"}',
        b'{"resourceType":"Binary","contentType":"application/json-patch+json"}',
        b"[]",
    ],
)
def test_a_body_that_is_no_patch_is_refused(text: bytes) -> None:
    with pytest.raises(RequestError):
        parse_patch(Resource(text))


def test_a_binary_contains_a_json_patch() -> None:
    patch = parse_patch(
        Resource(
            b'{"resourceType":"Binary","contentType":"application/json-patch+json;charset=utf-8",'
            b'"data":"W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2FjdGl2ZSJ9XQ=="}'
        )
    )
    result = apply_patch(patch, Resource(json.dumps(PATIENT).encode()), Release.R4)
    assert json.loads(result.text) == without("active")


def test_the_work_of_a_patch_is_bounded() -> None:
    delete = operation("delete", "Patient.name.where(family = 'none')")
    with pytest.raises(Unprocessable, match="where"):
        patched(*[delete] * (MAX_CRITERIA + 1))
    with pytest.raises(Unprocessable, match="more than"):
        patched(*[operation("delete", "Patient.gender")] * (MAX_OPERATIONS + 1))


def test_a_type_whose_elements_are_not_known_takes_json_patch_only() -> None:
    substance = {"resourceType": "SubstancePolymer", "id": "s"}
    with pytest.raises(Unprocessable, match="JSON Patch"):
        patched(operation("delete", "SubstancePolymer.language"), of=substance)
    assert (
        patched(operation("delete", "SubstancePolymer.language"), of=substance, release=Release.R5)
        == substance
    )
