"""The resources that are made for a reading."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.fhir.reading_resources import ObservationContext, device_metric, metric_of, observation
from broker.fhir.validation import validate
from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import load_mappings
from broker.mapping.payloads import parse_payload
from broker.mapping.reading import MappedReading
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource

MDC, UCUM = "urn:iso:std:iso:11073:10101", "http://unitsofmeasure.org"
CODES = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}, {"system": MDC, "code": "149530"}]}


def test_a_metric_has_the_type_the_unit_and_the_device_of_its_channel() -> None:
    metric = metric_of({"code": CODES, "valueQuantity": {"value": 71, "system": UCUM, "code": "/min"}})
    assert metric is not None
    value, resource = device_metric("Device/1", metric)
    validate(Release.R4, "DeviceMetric", resource)
    made = resource.copy()
    assert made["identifier"][0]["value"] == value
    assert made["type"] == {"coding": [{"system": MDC, "code": "149530"}]}
    assert made["unit"] == {"coding": [{"system": UCUM, "code": "/min"}]}
    assert (made["source"], made["category"]) == ({"reference": "Device/1"}, "measurement")
    assert not {"parent", "operationalStatus"} & made.keys()
    assert device_metric("Device/1", metric)[0] == value != device_metric("Device/2", metric)[0]


def test_a_channel_without_an_mdc_code_has_no_metric() -> None:
    assert metric_of({"code": {"coding": CODES["coding"][:1]}}) is None


def values(value: Any) -> Iterator[Any]:
    """The value and all that is in it."""
    yield value
    if isinstance(value, JsonObject):
        for member in value.values():
            yield from values(member)
    elif isinstance(value, tuple):
        for item in value:
            yield from values(item)


@pytest.mark.parametrize("name", example_names())
def test_an_observation_has_the_values_of_its_text(name: str) -> None:
    at = datetime(2025, 3, 1, 8, 0, tzinfo=UTC)
    found = load_mappings(None).map(parse_payload(example(name)), at)
    readings = [each for each in found if isinstance(each, MappedReading)]
    assert readings
    for reading in readings:
        context = ObservationContext(
            "urn:i", "final", "Patient/p", "Device/d", "Encounter/e", "Device/g", at, at, "i", at, ["late"]
        )
        made = observation(reading.resource, context)
        assert made.fields == Resource(made.text).fields
        assert not {dict, list, float} & {type(value) for value in values(made.fields)}
