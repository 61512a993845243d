"""The resources that are made for a reading."""

from broker.fhir.reading_resources import device_metric, metric_of
from broker.fhir.validation import validate
from broker.model.release import Release

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
