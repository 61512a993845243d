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
from tests.unit.ingest.fhirpath_patch_cases import CASES, NAME, PATIENT, without
from tests.unit.ingest.fhirpath_patches import Operation, body, operation


def patched(*operations: Operation, of: dict[str, Any] = PATIENT, release: Release = Release.R4) -> Any:
    resource = Resource(json.dumps(of).encode())
    return json.loads(apply_patch(parse_patch(body(*operations)), resource, release).text)


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
