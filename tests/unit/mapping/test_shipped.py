"""The shipped mappings: one for each row of the specification of vital signs, each with an example."""

import json
from decimal import Decimal
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from broker.mapping.codes import LOINC, MDC, UCUM
from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import MappingSet, load_mappings
from broker.mapping.payloads import encode_json, parse_payload
from broker.mapping.reading import MappedReading
from broker.mapping.schema import schema
from tests.spawning import ROOT
from tests.unit.mapping.payloads import RECEIVED

CORE = "http://hl7.org/fhir/StructureDefinition/"
CGM = "http://hl7.org/fhir/uv/cgm/StructureDefinition/"


@cache
def shipped() -> MappingSet:
    return load_mappings(None)


@cache
def readings(name: str) -> tuple[MappedReading, ...]:
    results = shipped().map(parse_payload(example(name)), RECEIVED)
    assert all(isinstance(result, MappedReading) for result in results), results
    return tuple(result for result in results if isinstance(result, MappedReading))


def resource(mapping: str, name: str, number: int = 0) -> dict[str, Any]:
    found = [reading.resource for reading in readings(mapping) if reading.name == name]
    return dict(found[number])


def codes(element: Any, system: str) -> list[str]:
    return [coding["code"] for coding in element["code"]["coding"] if coding["system"] == system]


def test_every_shipped_mapping_has_an_example_and_the_reverse() -> None:
    assert sorted(shipped().names) == example_names()


@pytest.mark.parametrize("path", sorted((ROOT / "mappings").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_file_satisfies_the_schema_that_its_first_line_names(path: Any) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=mapping.schema.json\n")
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", example_names())
def test_an_example_is_mapped_by_the_mapping_of_its_name_and_by_no_other(name: str) -> None:
    assert [mapping.name for mapping in shipped().matching(parse_payload(example(name)))] == [name]
    assert readings(name)


@pytest.mark.parametrize("name", example_names())
def test_the_same_payload_gives_the_same_readings(name: str) -> None:
    assert tuple(load_mappings(None).map(parse_payload(example(name)), RECEIVED)) == readings(name)


@pytest.mark.parametrize("name", example_names())
def test_an_example_shows_every_observation_of_its_mapping(name: str) -> None:
    mapping = shipped().find(name)
    assert mapping is not None
    assert {reading.name for reading in readings(name)} == {rule.name for rule in mapping.observations}


@pytest.mark.parametrize(
    ("mapping", "name", "loinc", "mdc", "unit", "profile", "category"),
    [
        ("heart-rate-monitor", "heart-rate", ["8867-4"], [], "/min", CORE + "heartrate", "vital-signs"),
        ("heart-rate-monitor", "heart-rate-ecg", ["8867-4"], ["147842"], "/min", CORE + "heartrate",
         "vital-signs"),
        ("pulse-oximeter", "pulse-rate", ["8867-4"], ["149530"], "/min", CORE + "heartrate", "vital-signs"),
        ("heart-rate-monitor", "resting-heart-rate", ["40443-4"], [], "/min", CORE + "vitalsigns",
         "vital-signs"),
        ("pulse-oximeter", "oxygen-saturation", ["2708-6", "59408-5"], ["150456"], "%", CORE + "oxygensat",
         "vital-signs"),
        ("respiration-monitor", "respiratory-rate", ["9279-1"], ["151562"], "/min", CORE + "resprate",
         "vital-signs"),
        ("thermometer", "body-temperature", ["8310-5"], ["150364"], "Cel", CORE + "bodytemp", "vital-signs"),
        ("scale", "body-weight", ["29463-7"], ["188736"], "kg", CORE + "bodyweight", "vital-signs"),
        ("scale", "body-height", ["8302-2"], ["188740"], "cm", CORE + "bodyheight", "vital-signs"),
        ("scale", "body-mass-index", ["39156-5"], ["188752"], "kg/m2", CORE + "bmi", "vital-signs"),
        ("glucose-meter", "glucose", ["41653-7"], ["160184"], "mg/dL", "", ""),
        ("glucose-meter", "glucose-undetermined", [], ["160368"], "mg/dL", "", ""),
        ("cgm", "glucose-mass", ["99504-3"], ["160212"],
         "mg/dL", CGM + "cgm-sensor-reading-mass-per-volume", ""),
        ("cgm", "glucose-molar", ["105272-9"], ["160212"],
         "mmol/L", CGM + "cgm-sensor-reading-moles-per-volume", ""),
        ("cgm-summary", "mean-glucose", ["97507-8"], [], "mg/dL", "", ""),
        ("cgm-summary", "mean-glucose-molar", ["105273-7"], [], "mmol/L", "", ""),
        ("cgm-summary", "gmi", ["97506-0"], [], "%", "", ""),
        ("cgm-summary", "time-in-range", ["97510-2"], [], "%", "", ""),
        ("cgm-summary", "time-very-low", ["104642-4"], [], "%", "", ""),
        ("cgm-summary", "time-low", ["104641-6"], [], "%", "", ""),
        ("cgm-summary", "time-high", ["104640-8"], [], "%", "", ""),
        ("cgm-summary", "time-very-high", ["104639-0"], [], "%", "", ""),
        ("cgm-summary", "variation", ["104638-2"], [], "%", "", ""),
        ("cgm-summary", "days-of-wear", ["104636-6"], [], "d", "", ""),
        ("cgm-summary", "active-time", ["104637-4"], [], "%", "", ""),
        ("heart-rate-variability", "heart-rate-variability", ["80404-7"], [], "ms", "", ""),
        ("activity-tracker", "steps", ["55423-8"], [], "{steps}", "", "activity"),
        ("activity-tracker", "steps-per-day", ["41950-7"], [], "/d", "", "activity"),
        ("activity-tracker", "calories", ["55424-6"], [], "kcal", "", "activity"),
        ("activity-tracker", "calories-per-day", ["41979-6"], [], "kcal/d", "", "activity"),
        ("activity-tracker", "exercise-duration", ["55411-3"], [], "min", "", "activity"),
        ("activity-tracker", "heart-rate-mean", ["55425-3"], [], "/min", "", "activity"),
        ("activity-tracker", "heart-rate-max", ["55426-1"], [], "/min", "", "activity"),
        ("activity-tracker", "heart-rate-max-per-day", ["8873-2"], [], "/min", "", "activity"),
        ("sleep-tracker", "sleep", ["93832-4"], [], "min", "", ""),
        ("sleep-tracker", "deep-sleep", ["93831-6"], [], "min", "", ""),
        ("sleep-tracker", "light-sleep", ["93830-8"], [], "min", "", ""),
        ("sleep-tracker", "rem-sleep", ["93829-0"], [], "min", "", ""),
    ],
)  # fmt: skip
def test_a_row_of_the_specification_has_its_codes_unit_profile_and_category(
    mapping: str, name: str, loinc: list[str], mdc: list[str], unit: str, profile: str, category: str
) -> None:
    observation = resource(mapping, name)
    assert codes(observation, LOINC) == loinc
    assert codes(observation, MDC) == mdc
    quantity = observation["valueQuantity"]
    assert (quantity["code"], quantity["system"]) == (unit, UCUM)
    assert quantity["unit"]
    assert observation.get("meta", {}).get("profile", [""])[0] == profile
    categories = observation.get("category", [{"coding": [{"code": ""}]}])
    assert [each["coding"][0]["code"] for each in categories] == [category]


def test_blood_pressure_is_one_observation_with_components_in_mmhg() -> None:
    observation = resource("blood-pressure-monitor", "blood-pressure")
    assert codes(observation, LOINC) == ["85354-9"]
    assert codes(observation, MDC) == ["150020"]
    assert not {"valueQuantity", "dataAbsentReason"} & observation.keys()
    components = observation["component"]
    assert [(codes(each, LOINC), codes(each, MDC)) for each in components] == [
        (["8480-6"], ["150021"]),
        (["8462-4"], ["150022"]),
        ([], ["150023"]),
    ]
    assert [each["valueQuantity"]["value"] for each in components] == [128, 83, 98]
    assert {each["valueQuantity"]["code"] for each in components} == {"mm[Hg]"}


def test_a_blood_pressure_in_kpa_is_converted_and_its_missing_component_says_why() -> None:
    systolic, diastolic = resource("blood-pressure-monitor", "blood-pressure", 1)["component"]
    assert systolic["valueQuantity"]["value"] == Decimal("128.3")
    assert diastolic["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"
    assert "valueQuantity" not in diastolic


def test_an_ecg_has_its_leads_as_sampled_data() -> None:
    observation = resource("ecg", "ecg")
    assert codes(observation, MDC) == ["131328"]
    assert [codes(each, MDC) for each in observation["component"]] == [["131329"], ["131330"]]
    sampled = observation["component"][0]["valueSampledData"]
    assert sampled["data"] == "12 15 22 180 940 310 -60 8 E 11"
    assert (sampled["period"], sampled["factor"], sampled["dimensions"]) == (4, Decimal("0.001"), 1)
    assert sampled["origin"] == {"value": 0, "unit": "mV", "system": UCUM, "code": "mV"}


def test_a_cgm_summary_is_a_panel_of_its_figures_over_their_period() -> None:
    panel = next(reading for reading in readings("cgm-summary") if reading.name == "summary")
    assert codes(panel.resource, LOINC) == ["107931-8"]
    assert set(panel.members) == {reading.name for reading in readings("cgm-summary")} - {"summary"}
    assert panel.end is not None
    assert (panel.end - panel.start).days == 14


@pytest.mark.parametrize(
    ("mapping", "name", "number", "value"),
    [
        ("thermometer", "body-temperature", 0, "37.00"),
        ("thermometer", "body-temperature", 1, "37.10"),
        ("scale", "body-weight", 0, "68.0"),
        ("scale", "body-weight", 1, "68.20"),
        ("scale", "body-height", 0, "180"),
        ("scale", "body-mass-index", 0, "21.0"),
        ("glucose-meter", "glucose", 0, "101"),
        ("pulse-oximeter", "oxygen-saturation", 1, "96.5"),
    ],
)
def test_values_have_the_digits_that_the_source_justifies(
    mapping: str, name: str, number: int, value: str
) -> None:
    quantity = resource(mapping, name, number)["valueQuantity"]
    assert json.loads(encode_json(quantity), parse_float=str, parse_int=str)["value"] == value


@pytest.mark.parametrize("name", example_names())
def test_a_resource_has_nothing_that_the_intake_adds(name: str) -> None:
    added = {"subject", "device", "encounter", "identifier", "issued", "status"}
    for reading in readings(name):
        assert not added & reading.resource.keys()
        assert not [key for key in reading.resource if key.startswith("effective")]
