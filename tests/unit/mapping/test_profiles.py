"""Every Observation of a shipped mapping conforms to the profiles that it names, and to US Core's."""

import json
from typing import Any

import pytest

from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import load_mappings
from broker.mapping.payloads import encode_json, parse_payload
from broker.mapping.reading import MappedReading
from tests.unit.mapping.payloads import RECEIVED
from tests.unit.profiles.catalogs import issues_of

_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
_US_CORE_PROFILES = {
    "heart-rate": "heart-rate",
    "heart-rate-ecg": "heart-rate",
    "pulse-rate": "heart-rate",
    "blood-pressure": "blood-pressure",
    "oxygen-saturation": "pulse-oximetry",
    "respiratory-rate": "respiratory-rate",
    "body-temperature": "body-temperature",
    "body-weight": "body-weight",
    "body-height": "body-height",
    "body-mass-index": "bmi",
}


def observations(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The readings of an example as the intake completes them, with the name of each."""
    completed = []
    for reading in load_mappings(None).map(parse_payload(example(name)), RECEIVED):
        assert isinstance(reading, MappedReading)
        fields: dict[str, Any] = json.loads(encode_json(reading.resource))
        fields |= {
            "status": "final",
            "subject": {"reference": "Patient/1"},
            "device": {"reference": "Device/1"},
        }
        if reading.end is None:
            fields["effectiveDateTime"] = reading.start.isoformat()
        else:
            fields["effectivePeriod"] = {"start": reading.start.isoformat(), "end": reading.end.isoformat()}
        completed.append((reading.name, fields))
    return completed


@pytest.mark.parametrize("name", example_names())
def test_an_observation_conforms_to_its_profiles(name: str) -> None:
    for reading, fields in observations(name):
        issues = [issue for issue in issues_of(fields) if issue.severity == "error"]
        assert not issues, f"{reading}: {issues}"


@pytest.mark.parametrize("name", example_names())
def test_a_vital_sign_conforms_to_us_core(name: str) -> None:
    for reading, fields in observations(name):
        if profile := _US_CORE_PROFILES.get(reading):
            issues = issues_of(fields, None, _US_CORE + profile)
            assert not [issue for issue in issues if issue.severity == "error"], f"{reading}: {issues}"
