"""What a Device has that is created for a mapping: kind, versions and UDI, as the PHD guide has them."""

from typing import Any

import pytest

from broker.fhir.reading_resources import identified
from broker.fhir.validation import find_issues
from broker.mapping.examples import example
from broker.mapping.mapping_set import load_mappings
from broker.mapping.payloads import parse_payload
from broker.mapping.reading import MappedReading
from broker.model.release import Release
from tests.unit.mapping.payloads import RECEIVED, reading

MDC = "urn:iso:std:iso:11073:10101"
HEAD = """
name: device
match: kind == 'device'
device:
  identifier: {system: 'urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680', value: id}
  manufacturer: Acme
  model: X1
  serial: {from: serial}
  firmware: {from: fw}
  software: {from: sw}
  hardware: {from: hw}
  udi: {from: udi}
  specialization: [{system: mdc, code: 4103, partition: 8}]
"""


def device(**payload: str) -> dict[str, Any]:
    """The elements of the Device, which is valid."""
    elements = dict(reading({"hr": 72, **payload}, head=HEAD).device.resource)
    assert find_issues(Release.R4, "Device", identified("Device", "urn:d", "d-1", elements)) == ()
    return elements


def coded(code: str) -> dict[str, Any]:
    return {"coding": [{"system": MDC, "code": code}]}


def test_a_device_of_the_phd_guide() -> None:
    found = device(fw="1.2", sw="3", hw="B")
    assert found["specialization"] == [{"systemType": coded("528391")}]
    assert found["type"]["coding"][0]["code"] == "65573"
    assert found["version"] == [
        {"type": coded("531976"), "value": "1.2"},
        {"type": coded("531975"), "value": "3"},
        {"type": coded("531974"), "value": "B"},
    ]
    assert (found["manufacturer"], found["modelNumber"]) == ("Acme", "X1")
    assert "version" not in device()


def test_a_given_type_stays() -> None:
    head = f"{HEAD}  type: [{{system: snomed, code: 43770009}}]\n"
    found: Any = reading({"hr": 72}, head=head).device.resource
    assert found["type"]["coding"][0]["code"] == "43770009"


@pytest.mark.parametrize(
    ("text", "carrier"),
    [
        (
            "(01)00844588003288(17)141120(10)7654321D",
            {"deviceIdentifier": "00844588003288", "issuer": "http://hl7.org/fhir/NamingSystem/gs1-di"},
        ),
        ("(01)0084458800328812", {}),
        ("+H123PARTNO1234567890120", {}),
    ],
)
def test_a_udi_is_a_carrier_with_the_identifier_of_the_model(text: str, carrier: dict[str, str]) -> None:
    assert device(udi=text)["udiCarrier"] == [{"carrierHRF": text} | carrier]


@pytest.mark.parametrize(
    ("name", "code"),
    [("blood-pressure-monitor", "528391"), ("pulse-oximeter", "528388"), ("glucose-meter", "528401")],
)
def test_shipped_mappings_name_the_kind_of_device_as_its_specialization(name: str, code: str) -> None:
    (first, *_) = load_mappings(None).map(parse_payload(example(name)), RECEIVED)
    assert isinstance(first, MappedReading)
    elements: Any = first.device.resource
    assert [each["systemType"]["coding"][0]["code"] for each in elements["specialization"]] == [code]
