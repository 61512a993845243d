"""Conversion between releases loses nothing, or doesn't happen."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.fhir.conversion import SAME_IN_R4_AND_R4B, SAME_IN_R5, can_convert, convert
from broker.fhir.validation import RESOURCE_TYPES, validate
from broker.model.release import Release

OWN = Path(__file__).parent / "examples"
R4, R4B, R5 = Release.R4, Release.R4B, Release.R5
BASE: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}
SAMPLED_R4 = b'{"origin":{"value":0.00},"period":10.0,"dimensions":1,"data":"1 2 E"}'
SAMPLED_R5 = b'{"origin":{"value":0.00},"interval":10.0,"intervalUnit":"ms","dimensions":1,"data":"1 2 E"}'


def observation(**changes: object) -> bytes:
    return orjson.dumps({**BASE, **changes})


def with_sampled(value: bytes) -> bytes:
    start = b'{"resourceType":"Observation","status":"final","code":{"text":"ecg"},"valueSampledData":'
    return start + value + b',"component":[{"code":{"text":"I"},"valueSampledData":' + value + b"}]}"


@pytest.mark.parametrize("path", sorted((OWN / "r4").glob("observation-*.json")), ids=lambda path: path.name)
def test_observations_of_devices_are_the_same_bytes_in_every_release(path: Path) -> None:
    body = path.read_bytes()
    if "contained" in orjson.loads(body):
        assert convert(body, "Observation", R4, R4B) == body
        assert convert(body, "Observation", R4, R5) is None  # a Device has no conversion to R5
        return
    for source in Release:
        for target in Release:
            assert convert(body, "Observation", source, target) == body


def test_a_patient_is_the_same_in_every_release_but_for_photos() -> None:
    body = (OWN / "r4" / "patient-ana.json").read_bytes()
    assert convert(body, "Patient", R4, R5) == body
    assert convert(body, "Patient", R5, R4B) == body
    photo = orjson.dumps({"resourceType": "Patient", "photo": [{"contentType": "image/png", "size": 3}]})
    assert convert(photo, "Patient", R4, R5) is None
    assert convert(photo, "Patient", R4, R4B) == photo


def test_sampled_data_goes_there_and_back_with_its_numbers_as_they_were() -> None:
    r4, r5 = with_sampled(SAMPLED_R4), with_sampled(SAMPLED_R5)
    assert convert(r4, "Observation", R4, R5) == r5
    assert convert(r5, "Observation", R5, R4) == r4
    validate(R4, "Observation", r4)
    validate(R5, "Observation", r5)


@pytest.mark.parametrize(
    ("interval", "unit", "period"),
    [(b"0.0025", b"s", b"2.5"), (b"2", b"s", b"2000"), (b"2500", b"us", b"2.500"), (b"4.00", b"ms", b"4.00")],
)
def test_an_interval_is_a_period_in_milliseconds(interval: bytes, unit: bytes, period: bytes) -> None:
    sampled = (
        b'{"origin":{"value":0},"interval":' + interval + b',"intervalUnit":"' + unit + b'","dimensions":1}'
    )
    converted = convert(with_sampled(sampled), "Observation", R5, R4)
    assert converted is not None
    assert converted.count(b'"period":' + period + b",") == 2
    validate(R4, "Observation", converted)


@pytest.mark.parametrize(
    "sampled",
    [
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"mo","dimensions":1}',
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"ms","dimensions":1,"offsets":"1 2"}',
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"ms","dimensions":1,"codeMap":"http://m"}',
        b'{"origin":{"value":0},"intervalUnit":"ms","dimensions":1,"data":"1"}',
    ],
)
def test_sampled_data_that_r4_cannot_say_is_not_converted(sampled: bytes) -> None:
    assert convert(with_sampled(sampled), "Observation", R5, R4) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"triggeredBy": [{"observation": {"reference": "Observation/1"}, "type": "reflex"}]},
        {"instantiatesCanonical": "http://x"},
        {"bodyStructure": {"reference": "BodyStructure/1"}},
        {"valueAttachment": {"url": "http://x"}},
        {"valueReference": {"reference": "MolecularSequence/1"}},
        {"component": [{"code": {"text": "a"}, "valueReference": {"reference": "Patient/1"}}]},
        {"referenceRange": [{"normalValue": {"text": "ok"}}]},
        {"extension": [{"url": "http://x", "valueInteger64": "12"}]},
        {"derivedFrom": [{"reference": "GenomicStudy/1"}]},
        {"contained": [{"resourceType": "Device", "id": "d"}]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_only_r5_can_say_is_not_converted(changes: dict[str, Any]) -> None:
    for target in (R4, R4B):
        assert convert(observation(**changes), "Observation", R5, target) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"derivedFrom": [{"reference": "Media/1"}]},
        {"derivedFrom": [{"reference": "http://other/fhir/Media/1/_history/2"}]},
        {"extension": [{"url": "http://x", "valueSampledData": {"origin": {"value": 0}, "period": 1}}]},
        {"extension": [{"url": "http://x", "valueContributor": {"type": "author", "name": "x"}}]},
        {"contained": [{"resourceType": "Device", "id": "d"}]},
    ],
    ids=str,
)
def test_what_r5_no_longer_knows_is_not_converted(changes: dict[str, Any]) -> None:
    assert convert(observation(**changes), "Observation", R4, R5) is None


def test_data_types_new_in_r4b_do_not_go_to_r4() -> None:
    body = observation(extension=[{"url": "http://x", "valueRatioRange": {}}])
    assert convert(body, "Observation", R4B, R4) is None


@pytest.mark.parametrize(
    ("resource_type", "source", "target", "answer"),
    [
        ("Observation", R4, R5, True),
        ("Encounter", R4, R4B, True),
        ("Encounter", R4, R5, False),
        ("Device", R5, R4, False),
        ("Evidence", R4, R4B, False),
        ("SubscriptionTopic", R4B, R4, False),
        ("SubscriptionTopic", R4B, R4B, True),
        ("SubscriptionTopic", R4, R4, False),
    ],
)
def test_which_types_convert(resource_type: str, source: Release, target: Release, *, answer: bool) -> None:
    assert can_convert(resource_type, source, target) is answer
    assert convert(b"{}", "Encounter", R4, R5) is None


def test_types_said_to_be_the_same_exist_in_the_releases() -> None:
    assert SAME_IN_R4_AND_R4B.issubset(RESOURCE_TYPES[R4] & RESOURCE_TYPES[R4B])
    assert SAME_IN_R5.issubset(SAME_IN_R4_AND_R4B & RESOURCE_TYPES[R5])
