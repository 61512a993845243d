"""Conversion between releases, element by element: the result is as expected, and the way back is exact."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.errors import Malformed, Unprocessable
from broker.fhir.conversion import can_convert, convert
from broker.fhir.conversion.r4_and_r4b import SAME_IN_R4_AND_R4B
from broker.fhir.conversion.rule_tables import CONVERTIBLE
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource
from tests.fhir.conversion_cases import ALTERNATE, EXACT, IMP, V4, V5
from tests.fhir.one_way_conversion_cases import TO_R4, TO_R5

OWN = Path(__file__).parent / "examples"
DOSSIER = Path(__file__).parents[3] / "shared" / "spec" / "examples"
R4, R4B, R5 = Release.R4, Release.R4B, Release.R5
REQUIRED: dict[str, dict[Release, dict[str, Any]]] = {
    "Device": {R4: {}, R5: {}},
    "DeviceMetric": {
        R4: {"category": "setting", "type": {"text": "t"}, "source": {"reference": "Device/1"}},
        R5: {"category": "setting", "type": {"text": "t"}, "device": {"reference": "Device/1"}},
    },
    "DiagnosticReport": {key: {"status": "final", "code": {"text": "c"}} for key in (R4, R5)},
    "Encounter": {
        R4: {"status": "planned", "class": IMP},
        R5: {"status": "planned", "class": [{"coding": [IMP]}]},
    },
    "Observation": {key: {"status": "final", "code": {"text": "c"}} for key in (R4, R5)},
    "Patient": {R4: {}, R5: {}},
    "Practitioner": {R4: {}, R5: {}},
}


def document(resource_type: str, release: Release, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": resource_type,
        **REQUIRED[resource_type][R4 if release is R4B else release],
        **changes,
    }


def converted(resource: dict[str, Any], source: Release, target: Release) -> dict[str, Any]:
    """The conversion, valid, having checked that the way back gives the same."""
    body, resource_type = orjson.dumps(resource), resource["resourceType"]
    validate(source, resource_type, Resource(body))
    forward = convert(Resource(body), resource_type, source, target)
    assert forward is not None
    validate(target, resource_type, forward)
    back = convert(forward, resource_type, target, source)
    assert back is not None
    assert orjson.loads(back.text) == resource
    result: dict[str, Any] = orjson.loads(forward.text)
    return result


@pytest.mark.parametrize(("resource_type", "old", "new"), EXACT, ids=lambda value: next(iter(value), "")[:20])
def test_an_element_is_converted_to_its_element_in_the_other_release(
    resource_type: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    for early in (R4, R4B):
        assert converted(document(resource_type, early, old), early, R5) == document(resource_type, R5, new)
        assert converted(document(resource_type, R5, new), R5, early) == document(resource_type, early, old)


@pytest.mark.parametrize(("resource_type", "old", "new"), TO_R5, ids=lambda value: next(iter(value), "")[:20])
def test_elements_that_r5_removed_are_kept_in_extensions(
    resource_type: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    expected = document(resource_type, R5, new)
    if "_status" in new and "status" not in new:
        expected.pop("status", None)
    assert converted(document(resource_type, R4, old), R4, R5) == expected
    in_r4b = orjson.loads(orjson.dumps(expected).replace(b"/4.0/", b"/4.3/"))
    assert converted(document(resource_type, R4B, old), R4B, R5) == in_r4b


@pytest.mark.parametrize(("resource_type", "new", "old"), TO_R4, ids=lambda value: next(iter(value), "")[:20])
def test_elements_that_only_r5_has_are_kept_in_extensions(
    resource_type: str, new: dict[str, Any], old: dict[str, Any]
) -> None:
    assert converted(document(resource_type, R5, new), R5, R4) == document(resource_type, R4, old)
    converted(document(resource_type, R5, new), R5, R4B)


BASE: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}


def observation(**changes: object) -> bytes:
    return orjson.dumps({**BASE, **changes})


def with_sampled(value: bytes) -> bytes:
    start = b'{"resourceType":"Observation","status":"final","code":{"text":"ecg"},"valueSampledData":'
    return start + value + b',"component":[{"code":{"text":"I"},"valueSampledData":' + value + b"}]}"


PLAIN = [
    path for path in sorted(OWN.glob("r4/observation-*.json")) if b'"contained"' not in path.read_bytes()
]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_an_observation_without_affected_elements_is_returned_unchanged(path: Path) -> None:
    resource = Resource(path.read_bytes())
    for source in Release:
        for target in Release:
            assert convert(resource, "Observation", source, target) is resource


def test_sampled_data_is_converted_both_ways_with_the_spelling_of_its_numbers() -> None:
    r4 = with_sampled(b'{"origin":{"value":0.00},"period":10.0,"dimensions":1,"data":"1 2 E"}')
    r5 = with_sampled(
        b'{"origin":{"value":0.00},"interval":10.0,"intervalUnit":"ms","dimensions":1,"data":"1 2 E"}'
    )
    assert convert(Resource(r4), "Observation", R4, R5) == Resource(r5)
    assert convert(Resource(r5), "Observation", R5, R4) == Resource(r4)
    validate(R4, "Observation", Resource(r4))
    validate(R5, "Observation", Resource(r5))


@pytest.mark.parametrize(
    ("interval", "unit", "period"),
    [(b"0.0025", b"s", b"2.5"), (b"2", b"s", b"2000"), (b"2500", b"us", b"2.500"), (b"4.00", b"ms", b"4.00")],
)
def test_an_interval_is_a_period_in_milliseconds(interval: bytes, unit: bytes, period: bytes) -> None:
    sampled = (
        b'{"origin":{"value":0},"interval":' + interval + b',"intervalUnit":"' + unit + b'","dimensions":1}'
    )
    body = with_sampled(sampled)
    forward = convert(Resource(body), "Observation", R5, R4)
    assert forward is not None
    assert forward.text.count(b'"period":' + period + b",") == 2
    validate(R4, "Observation", forward)
    assert convert(forward, "Observation", R4, R5) == Resource(body)


@pytest.mark.parametrize(
    "sampled",
    [
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"mo","dimensions":1}',
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"ms","dimensions":1,"offsets":"1 2"}',
        b'{"origin":{"value":0},"interval":1,"intervalUnit":"ms","dimensions":1,"codeMap":"http://m"}',
        b'{"origin":{"value":0},"intervalUnit":"ms","dimensions":1,"data":"1"}',
    ],
)
def test_sampled_data_that_r4_cannot_express_is_kept_in_extensions(sampled: bytes) -> None:
    converted(orjson.loads(with_sampled(sampled)), R5, R4)


def test_numbers_and_other_extensions_are_unchanged() -> None:
    body = (
        b'{"resourceType":"Encounter","status":"finished","class":{"code":"IMP"},'
        b'"_status":{"extension":[{"url":"http://x","valueDecimal":1.50}]},'
        b'"extension":[{"url":"http://x","valueDecimal":2.00}],"length":{"value":1e1}}'
    )
    forward = convert(Resource(body), "Encounter", R4, R5)
    assert forward is not None
    assert all(number in forward.text for number in (b"1.50", b"2.00", b"1e1"))
    assert convert(forward, "Encounter", R5, R4) == Resource(body)


def test_contained_resources_are_converted_with_their_container() -> None:
    inner = {
        "resourceType": "Device",
        "id": "d",
        "type": {"text": "cuff"},
        "patient": {"reference": "Patient/1"},
    }
    outer = {**BASE, "contained": [inner], "device": {"reference": "#d"}}
    forward = converted(outer, R4, R5)
    assert forward["contained"][0]["type"] == [{"text": "cuff"}]
    assert forward["device"] == {"reference": "#d"}


def test_a_contained_organization_is_kept_if_it_is_valid_in_both_releases() -> None:
    plain = {"resourceType": "Organization", "id": "o", "name": "Ward"}
    assert converted({**BASE, "contained": [plain]}, R4, R5)["contained"] == [plain]
    body = observation(contained=[{**plain, "telecom": [{"value": "1"}]}])
    assert convert(Resource(body), "Observation", R4, R5) is None


def test_a_resource_that_contains_a_type_without_conversion_is_not_converted() -> None:
    body = observation(contained=[{"resourceType": "MedicationStatement", "id": "m", "status": "active"}])
    assert convert(Resource(body), "Observation", R4, R5) is None
    assert convert(Resource(body), "Observation", R4, R4B) == Resource(body)
    assert (
        convert(Resource(observation(contained=[{"resourceType": "Evidence"}])), "Observation", R4, R4B)
        is None
    )


@pytest.mark.parametrize("literal", ["Media/1", "http://other/fhir/Media/1/_history/2"])
def test_a_reference_to_a_type_that_the_target_lacks_becomes_an_alternate_reference(literal: str) -> None:
    forward = converted({**BASE, "derivedFrom": [{"reference": literal}]}, R4, R5)
    inner = {"url": ALTERNATE, "valueReference": {"reference": literal}}
    assert forward["derivedFrom"] == [{"extension": [inner]}]


def test_a_reference_by_type_and_identifier_becomes_an_alternate_reference_too() -> None:
    reference = {"type": "GenomicStudy", "identifier": {"value": "1"}}
    forward = converted({**BASE, "partOf": [reference]}, R5, R4B)
    assert forward["partOf"] == [{"extension": [{"url": ALTERNATE, "valueReference": reference}]}]


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        ({"valueInteger64": "12"}, R5, R4),
        ({"valueCodeableReference": {"concept": {"text": "c"}}}, R4B, R4),
        ({"valueRatioRange": {"denominator": {"value": 1}}}, R4B, R4),
        ({"valueExtendedContactDetail": {"name": [{"text": "n"}], "telecom": [{"value": "1"}]}}, R5, R4B),
        ({"valueAvailability": {"availableTime": [{"daysOfWeek": ["mon"], "allDay": True}]}}, R5, R4),
        ({"valueMeta": {"tag": [{"code": "t"}], "versionId": "1"}}, R5, R4),
        ({"valueContributor": {"type": "author", "name": "x", "contact": [{"name": "y"}]}}, R4, R5),
        ({"valueSampledData": {"origin": {"value": 0}, "period": 1, "dimensions": 1}}, R4, R5),
        ({"valueDosage": {"asNeededCodeableConcept": {"text": "pain"}}}, R4, R5),
        ({"valueSignature": {"data": "aGk="}}, R5, R4),
        ({"valueRelatedArtifact": {"type": "citation", "url": "http://x.example/"}}, R4, R5),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else str(value),
)
def test_an_extension_value_of_a_type_that_the_target_lacks_is_spelled_out(
    value: dict[str, Any], source: Release, target: Release
) -> None:
    forward = converted({**BASE, "extension": [{"url": "http://x", **value}]}, source, target)
    assert forward["extension"] != [{"url": "http://x", **value}]


def test_an_element_edited_after_its_conversion_takes_precedence_over_the_extension() -> None:
    forward = converted(document("Encounter", R5, {"status": "discharged"}), R5, R4)
    forward["status"] = "cancelled"
    back = convert(Resource(orjson.dumps(forward)), "Encounter", R4, R5)
    assert back is not None
    assert orjson.loads(back.text)["status"] == "cancelled"


def test_extensions_written_from_r4_are_restored_in_r4b() -> None:
    device = document("Device", R4, {"patient": {"reference": "Patient/1"}})
    forward = convert(Resource(orjson.dumps(device)), "Device", R4, R5)
    assert forward is not None
    assert V4.encode() + b"Device.patient" in forward.text
    in_r4b = convert(forward, "Device", R5, R4B)
    assert in_r4b is not None
    assert orjson.loads(in_r4b.text) == device


def test_an_extension_is_not_restored_beside_a_value_that_excludes_it() -> None:
    value = {"url": V5 + "Observation.value", "valueAttachment": {"url": "http://x.example/"}}
    for other in ({"valueString": "s"}, {"dataAbsentReason": {"text": "r"}}):
        forward = converted({**BASE, **other, "extension": [value]}, R4, R5)
        assert "valueAttachment" not in forward


def test_a_resource_that_already_has_the_extension_it_needs_is_not_converted() -> None:
    taken = {"url": V5 + "Encounter.plannedStartDate", "valueDateTime": "2024"}
    encounter = document("Encounter", R5, {"plannedStartDate": "2025", "extension": [taken]})
    assert convert(Resource(orjson.dumps(encounter)), "Encounter", R5, R4) is None


def test_escaped_member_names_are_converted() -> None:
    body = b'{"resourceType":"Patient","\\u0070hoto":[{"size":3}]}'
    forward = convert(Resource(body), "Patient", R4, R5)
    assert forward is not None
    assert orjson.loads(forward.text)["photo"] == [{"size": "3"}]


@pytest.mark.parametrize(
    ("resource_type", "source", "target", "answer"),
    [
        *((resource_type, R4, R5, True) for resource_type in sorted(CONVERTIBLE)),
        *((resource_type, R5, R4B, True) for resource_type in sorted(CONVERTIBLE)),
        ("Condition", R4, R5, False),
        ("Condition", R4, R4B, True),
        ("Evidence", R4, R4B, False),
        ("SubscriptionTopic", R4B, R4, False),
        ("SubscriptionTopic", R4B, R4B, True),
        ("SubscriptionTopic", R4, R4, False),
    ],
)
def test_types_that_convert(resource_type: str, source: Release, target: Release, *, answer: bool) -> None:
    assert can_convert(resource_type, source, target) is answer
    if not answer and source is not target:
        assert convert(Resource(b"{}"), resource_type, source, target) is None


def test_convertible_types_exist_in_the_releases() -> None:
    assert CONVERTIBLE.issubset(SAME_IN_R4_AND_R4B & RESOURCE_TYPES[R5])


def examples() -> Iterator[tuple[str, Release, dict[str, Any]]]:
    """Resources of the convertible types: our own, and those of the dossier where it lies beside the
    checkout.
    """
    paths = [*OWN.glob("*/*.json"), *(DOSSIER.glob("*.json") if DOSSIER.is_dir() else ())]
    for path in sorted(paths):
        own = path.parent.name if path.is_relative_to(OWN) else path.name.split("-")[0]
        release = {"r4": R4, "phd": R4, "r4b": R4B, "r5": R5}.get(own)
        resource = orjson.loads(path.read_bytes())
        entries = [entry.get("resource", {}) for entry in resource.get("entry", [])]
        for n, each in enumerate([resource, *entries]):
            if release is None or each.get("resourceType") not in CONVERTIBLE:
                continue
            with contextlib.suppress(Malformed, Unprocessable):  # those the dossier calls nonconformant
                validate(release, each["resourceType"], Resource(orjson.dumps(each)))
                yield f"{path.name}-{n}", release, each


@pytest.mark.parametrize(
    ("release", "resource"),
    [pytest.param(release, resource, id=name) for name, release, resource in examples()],
)
def test_every_example_is_converted_both_ways(release: Release, resource: dict[str, Any]) -> None:
    for target in set(Release) - {release}:
        converted(resource, release, target)


def test_the_dossier_has_examples_of_its_own() -> None:
    if not DOSSIER.is_dir():
        pytest.skip("the dossier of examples is not beside this checkout")
    assert sum("phd-" in name for name, _, _ in examples()) > 3
