"""Search-parameter expressions as closures agree with the FHIRPath engine."""

import json
from typing import Any, Protocol

import pytest

from broker.matching.extract import compile_extractor, is_covered
from broker.matching.fhirpath import compile_expression
from broker.matching.steps import ElementNode
from broker.model.release import Release
from broker.model.search import SearchParameter

EXPRESSIONS = [
    "Observation.code",
    "Observation.code | Observation.component.code",
    "Observation.component.code.coding.display",
    "Observation.value",
    "Observation.effective",
    "(Observation.value as Quantity) | (Observation.value as SampledData)",
    "Observation.component.value.ofType(Quantity)",
    "Observation.component.value.ofType(CodeableConcept)",
    "Observation.effective.ofType(dateTime) | Observation.effective.ofType(Period)",
    "Observation.subject.where(resolve() is Patient)",
    "Observation | Observation.component",
    "Patient.name.given | Observation.subject",
    "Patient.telecom.where(system='phone')",
    "Patient.deceased.exists() and Patient.deceased != false",
    "(Patient.deceased as dateTime)",
    "Patient.name[1].text",
    "Patient.name.first().family",
    "Patient.extension('http://example.org/x').value",
    "Encounter.length",
    "value.as(Quantity)",
]
R4_R5 = [Release.R4, Release.R4B, Release.R5]


class Table(Protocol):
    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None: ...


def exact(values: list[Any]) -> Any:
    return json.loads(json.dumps(values, default=float))


@pytest.mark.parametrize("release", R4_R5)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_closure_finds_what_the_engine_finds(
    expression: str, release: Release, resources: dict[str, dict[str, Any]]
) -> None:
    assert is_covered(expression)
    extract = compile_extractor(expression, release)
    evaluate = compile_expression(expression, release)
    for resource in resources.values():
        assert exact([node.value for node in extract(resource)]) == exact(evaluate(resource, {}))


def test_the_node_of_a_choice_element_has_its_type(resources: dict[str, dict[str, Any]]) -> None:
    (node,) = compile_extractor("Observation.value")(resources["temperature"])
    assert node.type == "Quantity"


def test_as_with_a_capital_finds_the_primitive_too() -> None:
    nodes = compile_extractor("value.as(DateTime)")({"valueDateTime": "2024"})
    assert nodes == [ElementNode("2024", "dateTime")]


def test_as_applies_to_each_of_several_elements(resources: dict[str, dict[str, Any]]) -> None:
    # the engine takes singletons only; FHIR's own parameters mean each element
    nodes = compile_extractor("(Observation.component.value as Quantity)")(resources["pressure"])
    assert [node.value["value"] for node in nodes] == [142, 91]


def test_resource_stands_for_every_type(resources: dict[str, dict[str, Any]]) -> None:
    assert [compile_extractor("Resource.id")(resource)[0].value for resource in resources.values()]


def test_a_contained_target_is_resolved() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"reference": "#p"},
        "contained": [{"resourceType": "Patient", "id": "p"}],
    }
    extract = compile_extractor("Observation.subject.where(resolve() is Patient)")
    assert len(extract(resource)) == 1


def test_the_engine_evaluates_what_the_closures_do_not_cover(resources: dict[str, dict[str, Any]]) -> None:
    expression = "Observation.component.select(value.value).count()"
    assert not is_covered(expression)
    assert compile_extractor(expression)(resources["pressure"]) == [ElementNode(2)]


def test_extraction_changes_nothing_in_the_resource(resources: dict[str, dict[str, Any]]) -> None:
    for resource in resources.values():
        before = json.dumps(resource)
        for expression in EXPRESSIONS:
            compile_extractor(expression)(resource)
        assert json.dumps(resource) == before
