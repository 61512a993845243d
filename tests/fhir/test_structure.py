"""The structure of resources: what is refused, by which element, and what is valid although it looks odd."""

from typing import Any

import orjson
import pytest

from broker.errors import Malformed
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.structure import find_structure_issues
from broker.fhir.validation import MAX_ISSUES
from broker.model.json_text import decode_received
from broker.model.release import Release
from broker.model.resource import Resource
from tests.fhir.test_primitives import DIV, issues_of

EXTENSION = {"url": "urn:x", "valueString": "y"}
CONTAINED = {"resourceType": "Patient", "id": "p"}


def patient(**members: Any) -> bytes:
    return orjson.dumps({"resourceType": "Patient", **members})


def places(release: Release, text: bytes) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.expression) for issue in issues_of(release, text)]


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("members", "code", "element"),
    [
        ({"name": []}, "structure", "name"),
        ({"name": {}}, "structure", "name"),
        ({"name": {"family": "x"}}, "structure", "name"),
        ({"name": [{}]}, "structure", "name[0]"),
        ({"name": [None]}, "structure", "name[0]"),
        ({"name": [[]]}, "structure", "name[0]"),
        ({"name": ["x"]}, "structure", "name[0]"),
        ({"name": None}, "structure", "name"),
        ({"gender": None}, "structure", "gender"),
        ({"gender": ["male"]}, "structure", "gender"),
        ({"gender": {"value": "male"}}, "structure", "gender"),
        ({"birthDate": ""}, "value", "birthDate"),
        ({"maritalStatus": [{"text": "x"}]}, "structure", "maritalStatus"),
        ({"maritalStatus": {"id": "x"}}, "structure", "maritalStatus"),
        ({"maritalStatus": {"id": "a b", "text": "x"}}, "value", "maritalStatus.id"),
        ({"_name": [EXTENSION]}, "structure", "_name"),
        ({"fhir_comments": ["x"]}, "structure", "fhir_comments"),
        ({"deceasedBoolean": True, "deceasedDateTime": "2024"}, "invalid", ""),
        ({"deceasedBoolean": True, "_deceasedDateTime": {"extension": [EXTENSION]}}, "invalid", ""),
        ({"name": [{"given": ["a", None]}]}, "structure", "name[0].given[1]"),
        (
            {"name": [{"given": ["a", None], "_given": [None, None]}]},
            "structure",
            "name[0].given[1]",
        ),
        ({"name": [{"given": ["a", None], "_given": [{"id": "x"}]}]}, "structure", "name[0].given[1]"),
        ({"name": [{"given": ["a"], "_given": {"id": "x"}}]}, "structure", "name[0]._given"),
        ({"name": [{"given": ["a"], "_given": []}]}, "structure", "name[0]._given"),
        ({"name": [{"_given": [{"id": "x"}]}]}, "structure", "name[0]._given[0]"),
        ({"name": [{"given": ["a\x00"]}]}, "value", "name[0].given[0]"),
        ({"_gender": {}}, "structure", "_gender"),
        ({"_gender": None}, "structure", "_gender"),
        ({"_gender": {"id": "x"}}, "structure", "_gender"),
        ({"_gender": {"value": "x"}}, "structure", "_gender.value"),
        ({"_gender": [{"extension": [EXTENSION]}]}, "structure", "_gender"),
        ({"extension": [{"url": "urn:x"}]}, "invalid", "extension[0]"),
        ({"extension": [{"url": "urn:x", "id": "a"}]}, "invalid", "extension[0]"),
        ({"extension": [EXTENSION | {"extension": [EXTENSION]}]}, "invalid", "extension[0]"),
        ({"extension": [{"url": "urn:x", "valueCode": "a", "valueId": "b"}]}, "invalid", "extension[0]"),
        ({"extension": [{"valueString": "x"}]}, "required", "extension[0].url"),
        ({"extension": [EXTENSION | {"url": "urn: x"}]}, "value", "extension[0].url"),
        (
            {"managingOrganization": {"reference": "Organization/a b"}},
            "value",
            "managingOrganization.reference",
        ),
        ({"managingOrganization": {"reference": ""}}, "value", "managingOrganization.reference"),
        ({"identifier": [{"system": "http://x.org/a b"}]}, "value", "identifier[0].system"),
        ({"meta": {"profile": ["http://x.org/a b"]}}, "value", "meta.profile[0]"),
        ({"photo": [{"data": "no base6!"}]}, "value", "photo[0].data"),
        ({"photo": [{"size": "x"}]}, "value", "photo[0].size"),
        ({"multipleBirthInteger": 1.0}, "value", "multipleBirthInteger"),
        ({"text": {"status": "generated"}}, "required", "text.div"),
        ({"text": {"status": "generated", "div": "<p>x</p>"}}, "value", "text.div"),
        ({"text": {"status": "generated", "div": DIV % "<script/>x"}}, "value", "text.div"),
        ({"contained": [{"resourceType": "Patient"}]}, "required", "contained[0].id"),
        ({"contained": [CONTAINED, CONTAINED]}, "duplicate", "contained[1].id"),
        (
            {"contained": [CONTAINED | {"contained": [CONTAINED]}]},
            "structure",
            "contained[0].contained",
        ),
        ({"contained": [{"id": "x"}]}, "required", "contained[0].resourceType"),
        (
            {"contained": [CONTAINED | {"text": {"status": "x", "div": "y"}}]},
            "value",
            "contained[0].text.div",
        ),
        ({"contained": CONTAINED}, "structure", "contained"),
        ({"contact": [{"id": "x"}]}, "structure", "contact[0]"),
        ({"link": [{"type": "refer"}]}, "required", "link[0].other"),
    ],
    ids=str,
)
def test_each_fault_is_one_issue_that_names_the_element(
    release: Release, members: dict[str, Any], code: str, element: str
) -> None:
    assert places(release, patient(**members)) == [(code, f"Patient.{element}".rstrip("."))]


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    "members",
    [
        {"name": [{"given": ["a", None], "_given": [None, {"extension": [EXTENSION]}]}]},
        {"name": [{"given": [None, "b"], "_given": [{"extension": [EXTENSION]}]}]},
        {"name": [{"_given": [{"extension": [EXTENSION]}]}]},
        {"gender": "male", "_gender": {"id": "a"}},
        {"_gender": {"extension": [EXTENSION]}},
        {"_birthDate": {"extension": [{"url": "urn:x", "extension": [EXTENSION]}]}},
        {"extension": [{"url": "urn:x", "valueMeta": {"source": "urn:y"}}]},
        {"extension": [{"url": "urn:x", "_valueCode": {"extension": [EXTENSION]}}]},
        {"extension": [{"url": "x", "valueUrl": "mailto:a@x.org"}]},
        {"text": {"status": "generated", "div": DIV % "null {} []"}},
        {"contained": [CONTAINED, CONTAINED | {"id": "q"}]},
        {"contained": [CONTAINED], "managingOrganization": {"reference": "#p"}},
        {"name": [{"text": "null"}, {"text": "[]"}, {"text": "\\u0001"}]},
        {"maritalStatus": {"id": "a", "text": "x"}},
        {"birthDate": "0700"},
        {"multipleBirthInteger": 2},
    ],
    ids=str,
)
def test_valid_content_is_accepted(release: Release, members: dict[str, Any]) -> None:
    assert not places(release, patient(**members))


@pytest.mark.parametrize("release", list(Release))
def test_resources_in_bundles_and_parameters_are_checked(release: Release) -> None:
    inside = {"resourceType": "Patient", "birthDate": "2024-02-30"}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": inside}]}
    assert places(release, orjson.dumps(bundle)) == [("value", "Bundle.entry[0].resource.birthDate")]
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": inside}]}
    assert places(release, orjson.dumps(parameters)) == [
        ("value", "Parameters.parameter[0].resource.birthDate")
    ]
    assert not places(release, orjson.dumps({"resourceType": "Parameters"}))


def test_the_issues_of_one_resource_are_bounded() -> None:
    assert len(places(Release.R4, patient(name=[{"x": 1}] * 5 * MAX_ISSUES))) == MAX_ISSUES


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        (b'{"resourceType":"Patient","gender":"no","gender":"male"}', ["Patient.gender"]),
        (b'{"gender":"male","gender":"male","resourceType":"Patient"}', ["Patient.gender"]),
        (b'{"id":"a","id":"a"}', ["Resource.id"]),
        (
            b'{"resourceType":"Patient","name":[{"text":"a"},{"text":"a","text":"b"}],"_a":{"b":1,"b":2}}',
            ["Patient._a.b", "Patient.name[1].text"],
        ),
        (b'{"resourceType":"Patient","name":[{"a":{},"a":{}}],"id":"\\u003a"}', ["Patient.name[0].a"]),
        (b'{"resourceType":"Patient","g\\u0065nder":"male","gender":"male"}', ["Patient.gender"]),
    ],
)
def test_a_name_that_is_repeated_in_an_object_is_refused(text: bytes, elements: list[str]) -> None:
    with pytest.raises(Malformed) as caught:
        Resource(text, decode_received).fields  # noqa: B018  reading is what fails
    assert [issue.expression for issue in caught.value.issues] == elements


def test_a_name_in_two_objects_and_colons_in_texts_are_no_repetition() -> None:
    text = b'{"a":{"id":":"},"b":{"id":"\\u003a:"},"c":[{"id":1},{"id":1}],"d:d":"{\\"e\\":1}"}'
    assert Resource(text, decode_received).fields["d:d"] == '{"e":1}'


@pytest.mark.parametrize("release", list(Release))
def test_every_type_has_a_table(release: Release) -> None:
    for name in RESOURCE_TYPES[release]:
        fields = Resource(orjson.dumps({"resourceType": name, "no-element": 1})).fields
        issues = list(find_structure_issues(release, name, fields))
        assert not issues or any(issue.expression == f"{name}.no-element" for issue in issues)
