"""The import of MedTech templates: forms that the service takes, and what cannot be carried over."""

from typing import Any

import pytest

from broker.mapping.medtech.importing import import_templates
from broker.mapping.medtech.templates import read_templates
from broker.mapping.reading import MappedReading, Merge, ReadingProblem
from tests.unit.mapping.medtech_templates import (
    AT,
    CODES,
    LOINC,
    MDC,
    SYSTEMS,
    content,
    fhir,
    imported,
    jmespath,
    mapped,
    quantities,
    readings,
)


def test_categories_are_concepts_with_all_their_codes_and_text() -> None:
    categories: list[dict[str, Any]] = [
        {"text": "Vital"},
        {"text": "Both", "codes": [{"code": "a", "system": CODES}, {"code": "b", "system": CODES}]},
        {"codes": [{"code": "c", "system": CODES, "display": "C"}]},
    ]
    (reading,) = readings([content("hr")], [fhir("hr", category=categories)], {"hr": 61, **AT})
    assert reading.resource["category"] == [
        {"text": "Vital"},
        {"text": "Both", "coding": [{"code": "a", "system": CODES}, {"code": "b", "system": CODES}]},
        {"coding": [{"code": "c", "system": CODES, "display": "C"}]},
    ]


def test_codes_are_as_the_template_has_them_also_without_system_or_code() -> None:
    codes = [{"code": "1"}, {"display": "Pulse", "system": CODES}, {"code": "18458", "system": MDC}]
    (reading,) = readings([content("hr")], [fhir("hr", codes=codes)], {"hr": 61, **AT})
    resource: dict[str, Any] = dict(reading.resource)
    assert resource["code"]["coding"][:-1] == codes


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ("$..[?(@kind =~ /^a.*z$/)]", [1]),
        ("$..[?(@kind =~ /^X/i)]", [2]),
        ("$.list..[?(@.kind != 'abz')]", [2]),
        ("$..[?(@kind == $.chosen)]", [2]),
        ("$..[?(@hr === 1.5 || @hr <> 1)]", [2]),
    ],
)
def test_a_filter_of_jsonpath_means_what_it_means_in_the_service(match: str, found: list[int]) -> None:
    payload = {
        "chosen": "xb",
        "list": [{"kind": "abz", "hr": 1, **AT}, {"kind": "xb", "hr": 2, **AT}],
    }
    template = content("hr", typeMatchExpression=match)
    assert quantities(readings([template], [fhir("hr")], payload)) == found


@pytest.mark.parametrize(
    ("match", "value"),
    [("$.rows", "$.matchedToken[1].hr"), (jmespath("rows"), "$.matchedToken[1].hr")],
)
def test_an_array_that_is_matched_is_one_reading(match: object, value: str) -> None:
    parts: dict[str, Any] = {
        "typeMatchExpression": match,
        "values": [{"required": True, "valueExpression": value, "valueName": "v"}],
    }
    payload = {"rows": [{"hr": 1}, {"hr": 2}], **AT}
    template = content("hr", "CalculatedContent", **parts)
    assert quantities(readings([template], [fhir("hr")], payload)) == [2]


def test_names_comments_commas_and_texts_are_read_as_the_service_reads_them() -> None:
    contents = """{"TemplateType": "COLLECTIONCONTENT", "Template": [ // all of them
      {"templateType": "JsonPathContentTemplate", "template": {
        "TypeName": "hr", "TypeMatchExpression": "$..[?(@hr)]", /* "not": "this", */
        "DeviceIdExpression": "$.device", "TimestampExpression": "$.at",
        "Values": [{"Required": "true", "ValueExpression": "$.wanted", "ValueName": "v // v, ]"},],
      },},
    ]}"""
    mappings = """{"templateType": "CollectionFhir", "template": [
      {"templateType": "CodeValueFhir", "template": {
        "TypeName": "HR", "Codes": [{"Code": "1-8", "System": "http://loinc.org"}], "PeriodInterval": "60",
        "Value": {"ValueType": "quantity", "ValueName": "v // v, ]", "Unit": "x"}}}]}"""
    files = {"content.json": contents.encode(), "fhir.json": mappings.encode()}
    result = import_templates(read_templates(files), "test", SYSTEMS, "mapping.schema.json")
    assert not result.left_out
    (problem,) = mapped(result, {"hr": 1, **AT})
    assert isinstance(problem, ReadingProblem)
    assert problem.reason == "missing-field", "the value is required"
    (reading,) = mapped(result, {"hr": 1, "wanted": 5, **AT})
    assert isinstance(reading, MappedReading)
    assert reading.resource["valueQuantity"] == {"value": 5, "unit": "x"}
    assert reading.merge == Merge("hour", "")


@pytest.mark.parametrize(
    ("contents", "fhirs", "part", "text"),
    [
        ([content("hr")], [], "typeName", "no FHIR mapping template has this typeName"),
        ([], [fhir("hr")], "typeName", "no device content template has this typeName"),
        ([content("hr")], [fhir("hr", {"valueType": "SampledData", "defaultPeriod": 4}, periodInterval=60)],
         "periodInterval", "more than 100000 samples"),
        ([content("hr")], [fhir("hr", periodInterval=-1)], "periodInterval", "there is none"),
        ([content("hr")], [fhir("hr", {"valueName": "w", "valueType": "String"})], "value", "of the name w"),
        ([content("hr")], [fhir("hr", codes=[{"code": "1", "system": "LN"}])], "codes", "LN is no URL"),
        ([content("hr")], [fhir("hr", codes=[{"system": LOINC}])], "codes", "without code and display"),
        ([content("hr")], [fhir("hr", codes=[{"code": "HR", "system": MDC}])], "codes", "is a number"),
        ([content("hr")], [fhir("hr", category=[{"codes": []}])], "category", "without text and codes"),
        ([content("hr")], [fhir("hr", {"valueType": "SampledData"})], "value", "needs a defaultPeriod"),
        ([content("hr", typeMatchExpression="$..[?(@hr =~ /(?=a)/)]")], [fhir("hr")], "match", "RE2"),
        ([content("hr", typeMatchExpression="$..[?(")], [fhir("hr")], "match", "not a JSONPath"),
        ([content("hr", "OtherContent")], [fhir("hr")], "", "OtherContent: this kind"),
        ([content("hr", timestampExpression=None)], [fhir("hr")], "", "must be there"),
        ([content("hr")], [fhir("hr"), fhir("hr")], "", "the same typeName"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_listed(
    contents: list[Any], fhirs: list[Any], part: str, text: str
) -> None:
    result = imported(contents, fhirs)
    assert any(each.part == part and text in each.text for each in result.left_out), result.left_out
