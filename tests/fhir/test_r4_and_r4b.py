"""R4 and R4B: shared types have the same text in both; what one of them lacks is kept or refused."""

from typing import Any

import orjson
import pytest

from broker.fhir.conversion import can_convert, convert
from broker.fhir.element_tables import table_of_type
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource

R4, R4B = Release.R4, Release.R4B
BOTH_WAYS = [(R4, R4B), (R4B, R4)]
PRACTITIONER = {"reference": "Practitioner/1"}
ALTERNATE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"
CANONICAL = "http://example.org/a"
DEFINITION = {
    "url": CANONICAL,
    "name": "X",
    "status": "draft",
    "kind": "resource",
    "abstract": False,
    "type": "Basic",
}


def resource(resource_type: str, /, **elements: Any) -> Resource:
    return Resource(orjson.dumps({"resourceType": resource_type, **elements}))


def element(**members: Any) -> Resource:
    """A StructureDefinition whose second element has the members."""
    elements = [{"id": "Basic", "path": "Basic"}, {"id": "Basic.x", "path": "Basic.x", **members}]
    return resource("StructureDefinition", **DEFINITION, differential={"element": elements})


@pytest.mark.parametrize(("source", "target"), BOTH_WAYS)
def test_every_type_that_is_not_restructured_passes_as_it_is(source: Release, target: Release) -> None:
    for name in RESOURCE_TYPES[R4] & RESOURCE_TYPES[R4B]:
        minimal = resource(name, id="x", language="de")
        is_restructured = name in {"Evidence", "EvidenceVariable"}
        assert can_convert(name, source, target) is not is_restructured
        assert convert(minimal, name, source, target) is (None if is_restructured else minimal), name
    for name in RESOURCE_TYPES[source] - RESOURCE_TYPES[target]:
        assert not can_convert(name, source, target)


def test_the_tables_have_the_elements_in_which_the_releases_differ() -> None:
    for name, attribute in (
        ("ActivityDefinition", "subjectCanonical"),
        ("PlanDefinitionAction", "subjectCanonical"),
        ("ElementDefinition", "fixedRatioRange"),
    ):
        assert attribute in table_of_type(R4B, name).elements


@pytest.mark.parametrize(
    ("source", "document", "is_convertible"),
    [
        (R4B, resource("PlanDefinition", status="draft", subjectCanonical=CANONICAL), False),
        (R4B, resource("PlanDefinition", status="draft", action=[{"subjectCanonical": CANONICAL}]), False),
        (R4B, resource("PlanDefinition", status="draft", subjectCodeableConcept={"text": "x"}), True),
        (R4B, resource("ActivityDefinition", status="draft", subjectCanonical=CANONICAL), False),
        (R4B, element(fixedRatioRange={"denominator": {"value": 1}}), False),
        (R4B, element(patternCodeableReference={"concept": {"text": "x"}}), False),
        (R4B, element(fixedQuantity={"value": 1}), True),
        (R4, element(fixedMeta={"source": "urn:x"}), False),
        (R4, element(patternCoding={"code": "x"}), True),
        (R4, resource("Basic", code={"text": "x"}, contained=[{"resourceType": "Evidence"}]), False),
        (R4, resource("Basic", code={"text": "x"}, contained=[{"resourceType": "Flag"}]), True),
        (R4B, resource("Bundle", type="collection", entry=[{"resource": {"resourceType": "Flag"}}]), True),
        (
            R4B,
            resource("Bundle", type="collection", entry=[{"resource": {"resourceType": "Citation"}}]),
            False,
        ),
        (
            R4B,
            resource(
                "Parameters",
                parameter=[{"name": "a", "part": [{"name": "b", "resource": {"resourceType": "Citation"}}]}],
            ),
            False,
        ),
        (
            R4B,
            resource(
                "Bundle",
                type="collection",
                entry=[
                    {
                        "resource": {
                            "resourceType": "Bundle",
                            "entry": [
                                {"resource": {"resourceType": "PlanDefinition", "subjectCanonical": "urn:x"}}
                            ],
                        }
                    }
                ],
            ),
            False,
        ),
        (
            R4B,
            resource(
                "ExampleScenario", status="draft", instance=[{"resourceId": "x", "resourceType": "Citation"}]
            ),
            True,
        ),
    ],
)
def test_what_the_other_release_lacks_keeps_a_resource_from_it(
    source: Release, document: Resource, *, is_convertible: bool
) -> None:
    target = R4 if source is R4B else R4B
    converted = convert(document, document.type, source, target)
    assert converted == (document if is_convertible else None)


@pytest.mark.parametrize(
    ("name", "elements", "member"),
    [
        ("Observation", {"status": "final", "code": {"text": "x"}, "subject": PRACTITIONER}, "subject"),
        ("DiagnosticReport", {"status": "final", "code": {"text": "x"}, "subject": PRACTITIONER}, "subject"),
    ],
)
def test_a_reference_that_r4_does_not_allow_is_kept_in_an_extension(
    name: str, elements: dict[str, Any], member: str
) -> None:
    document = resource(name, **elements)
    validate(R4B, name, document)
    in_r4 = convert(document, name, R4B, R4)
    assert in_r4 is not None
    (extension,) = orjson.loads(in_r4.text)[member]["extension"]
    assert extension == {"url": ALTERNATE, "valueReference": PRACTITIONER}
    back = convert(in_r4, name, R4, R4B)
    assert back is not None
    assert orjson.loads(back.text) == orjson.loads(document.text)


def test_references_inside_backbone_elements_and_bundles_are_kept_too() -> None:
    group = {
        "resourceType": "Group",
        "type": "person",
        "actual": True,
        "member": [{"entity": {"reference": "RelatedPerson/1"}}],
    }
    document = resource("Bundle", type="collection", entry=[{"resource": group}])
    in_r4 = convert(document, "Bundle", R4B, R4)
    assert in_r4 is not None
    (entry,) = orjson.loads(in_r4.text)["entry"]
    assert entry["resource"]["member"][0]["entity"]["extension"][0]["url"] == ALTERNATE
    back = convert(in_r4, "Bundle", R4, R4B)
    assert back is not None
    assert orjson.loads(back.text) == orjson.loads(document.text)
