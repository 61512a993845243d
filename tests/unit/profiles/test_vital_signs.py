"""The built-in profiles: conformant Observations pass, and the traps of HL7's definitions are avoided."""

import json
from pathlib import Path

import pytest

from broker.matching.fhirpath import compile_invariant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.profiles.catalog import ProfileCatalog, implied_profiles
from broker.profiles.vital_signs import HL7, US_CORE
from tests.unit.profiles.catalogs import errors, issues_of, shipped
from tests.unit.profiles.examples import FLOW, blood_pressure, examples

DEFINITIONS = Path(__file__).resolve().parents[4] / "shared/spec/data/profiles-r4"
needs_definitions = pytest.mark.skipif(not DEFINITIONS.is_dir(), reason="HL7's definitions are not at hand")


@pytest.mark.parametrize("name", examples())
def test_a_conformant_observation_has_no_issue(name: str) -> None:
    fields = examples()[name]
    (url,) = fields["meta"]["profile"]
    assert shipped().find(Release.R4, url) is not None
    found = [issue for issue in issues_of(fields) if issue.severity == "error"]
    assert found == []


def test_an_observation_is_checked_against_the_profile_of_its_code() -> None:
    fields = examples()["heartrate"]
    del fields["meta"]
    assert implied_profiles(fields) == [f"{HL7}heartrate"]
    fields["valueQuantity"]["code"] = "/s"
    assert errors(fields) == ["Observation.valueQuantity.code"]


def test_vs_1_concerns_times_and_no_period() -> None:
    fields = examples()["heartrate"]
    fields["effectiveDateTime"] = "2026-03"
    assert errors(fields) == ["Observation.effectiveDateTime"]
    del fields["effectiveDateTime"]
    fields["effectivePeriod"] = {"start": "2026-03", "end": "2026-04"}
    assert errors(fields) == []


def test_a_unit_of_a_component_outside_vital_signs_is_a_warning_unless_strict() -> None:
    fields = examples()["oxygensat"] | {"component": [FLOW]}
    (issue,) = issues_of(fields)
    assert (issue.severity, issue.expression) == ("warning", "Observation.component[0].valueQuantity")
    strict = ProfileCatalog.load(None, compile_invariant, is_strict=True)
    assert errors(fields, strict) == ["Observation.component[0].valueQuantity"]
    fields["meta"]["profile"] = [f"{US_CORE}us-core-pulse-oximetry"]
    fields["code"]["coding"] = [*fields["code"]["coding"][1:], {"system": "urn:x", "code": "2708-6"}]
    assert "Observation.component[0].valueQuantity" not in errors(fields, strict)


def test_a_missing_systolic_pressure_is_found_once() -> None:
    fields = blood_pressure(f"{HL7}bp")
    del fields["component"][0]
    found = [issue.expression for issue in issues_of(fields)]
    assert found == ["Observation.component", "Observation.component"]
    assert ["at least 2" in issue.text for issue in issues_of(fields)] == [True, False]


def test_an_unknown_profile_is_a_warning() -> None:
    fields = examples()["heartrate"]
    fields["meta"]["profile"].append("http://example.org/StructureDefinition/none")
    (issue,) = issues_of(fields)
    assert (issue.severity, issue.expression) == ("warning", "Observation.meta.profile[1]")


def test_the_target_of_a_reference_has_a_permitted_type() -> None:
    fields = examples()["us-core-heart-rate"]
    fields["subject"] = {"reference": "https://ehr.example/fhir/Group/7"}
    assert errors(fields) == ["Observation.subject"]
    fields["subject"] = {"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}
    assert errors(fields) == []
    fields["subject"] = {"reference": "#p"}
    fields["contained"] = [{"resourceType": "Device", "id": "p"}]
    assert errors(fields) == ["Observation.subject"]
    fields["contained"][0]["resourceType"] = "Patient"
    assert errors(fields) == []


@needs_definitions
@pytest.mark.parametrize("own", [True, False])
def test_every_example_of_us_core_passes(own: bool) -> None:
    """By the built-in tables, and by HL7's definitions themselves."""
    catalog = shipped() if own else ProfileCatalog.load(DEFINITIONS, compile_invariant)
    paths = sorted((DEFINITIONS / "examples").glob("*.json"))
    assert len(paths) > 20
    for path in paths:
        found = catalog.validate(Release.R4, Resource(path.read_bytes()))
        assert [issue.text for issue in found if issue.severity == "error"] == [], path.name


@needs_definitions
def test_the_built_in_tables_have_the_elements_of_the_published_differentials() -> None:
    published = ProfileCatalog.load(DEFINITIONS, compile_invariant)
    for path in sorted(DEFINITIONS.glob("us-core-*.json")):
        url = json.loads(path.read_bytes())["url"]
        own, other = shipped().find(Release.R4, url), published.find(Release.R4, url)
        assert own is not None
        assert other is not None
        assert set(own.must_support) == set(other.must_support), url
