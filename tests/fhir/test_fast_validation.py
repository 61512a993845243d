"""What is certainly valid has no issue of structure either; and most of what comes is certainly valid."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from broker.errors import RequestError
from broker.fhir import validation
from broker.fhir.fast_validation import is_certainly_valid
from broker.fhir.structure import find_structure_issues
from broker.model.release import Release
from broker.model.resource import Resource
from broker.testing.readings import KINDS, observation
from broker.testing.registration import subscription
from tests.fhir.test_validation import OWN, dossier_examples, own_examples

_ODD: list[Any] = [
    *(
        "",
        " ",
        "x",
        " x",
        "x ",
        "a b",
        "a  b",
        "\u00a0",
        "\u00e9",
        "72",
        "true",
        "a\nb",
        "\u2028",
        "urn:uuid:1",
    ),
    *(0, -1, 1, 1.0, 1.5, -0.0, 1e30, 2**31, 2**63, 10**30, True, False, None),
    *(
        "2024",
        "2024-02-30",
        "2024-02-29",
        "2024-04-31",
        "0000",
        "2024-1-1",
        "2024-01-01T00:00:00",
        "1850-01-01",
    ),
    *("2024-01-01T00:00:00Z", "2024-01-01t00:00:00z", "2024-01-01 00:00:00Z", "2024-01-01T24:00:00Z"),
    *(
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00.1234567Z",
        "2024-01-01T00:00:00+14:30",
        "10:00:00",
        "10:00",
    ),
    *({}, [], [None], [[]], {"x": 1}, {"extension": [{"url": "urn:x", "valueString": "y"}]}),
    *(
        {"value": 1},
        {"value": "1"},
        {"reference": "Patient/1"},
        {"coding": [{"code": "x"}]},
        {"text": "x"},
        ["x"],
    ),
    *([{"url": "urn:x"}], [{"url": "urn:x", "valueString": "a", "valueCode": "b"}], [{"valueString": "a"}]),
]
_NAMES = [
    *(
        "id",
        "extension",
        "modifierExtension",
        "contained",
        "meta",
        "text",
        "status",
        "_status",
        "_criteria",
        "_payload",
        "resourceType",
    ),
    *(
        "valueQuantity",
        "valueString",
        "valueInteger",
        "valueBoolean",
        "valueDateTime",
        "valuePeriod",
        "value",
    ),
    *("effectiveDateTime", "effectivePeriod", "issued", "component", "note", "code", "subject", "identifier"),
    *(
        "deceasedBoolean",
        "deceasedDateTime",
        "birthDate",
        "period",
        "start",
        "unit",
        "system",
        "fhir_comments",
    ),
    *("multipleBirthInteger", "status__ext", "udiCarrier", "class", "reference", "authorString", "time"),
]
_KINDS = frozenset(
    {"Observation", "Patient", "Device", "DeviceMetric", "Encounter", "DiagnosticReport", "Subscription"}
)


def examples() -> list[tuple[Release, dict[str, Any]]]:
    read = [
        (release, orjson.loads(path.read_bytes())) for release, path in own_examples() + dossier_examples()
    ]
    read += [(release, _subscription(release)) for release in Release]
    return [(release, resource) for release, resource in read if resource["resourceType"] in _KINDS]


def _subscription(release: Release) -> dict[str, Any]:
    return subscription(
        release, "urn:topic", "https://example.org/hook", filters=["patient=Patient/p"], max_count=5
    )


_EXAMPLES = examples()


def containers(node: Any) -> list[Any]:
    result = [node]
    for inner in node.values() if isinstance(node, dict) else node:
        if isinstance(inner, dict | list):
            result += containers(inner)
    return result


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Release, dict[str, Any]]:
    """A real resource with one to three things changed, most of them for the worse."""
    release, resource = draw(st.sampled_from(_EXAMPLES))
    resource = copy.deepcopy(resource)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(containers(resource)))
        if isinstance(place, dict):
            name = draw(st.sampled_from(sorted(place) + _NAMES))
            if draw(st.booleans()):
                place[name] = copy.deepcopy(draw(st.sampled_from(_ODD)))
            else:
                place.pop(name, None)
        elif place and draw(st.booleans()):
            place[0] = copy.deepcopy(draw(st.sampled_from(_ODD)))
        else:
            place.append(copy.deepcopy(draw(st.sampled_from(_ODD))))
    return release, resource


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_certainly_valid_resources_have_no_issue_of_structure(
    case: tuple[Release, dict[str, Any]],
) -> None:
    release, resource = case
    resource_type = resource.get("resourceType")
    assume(isinstance(resource_type, str) and resource_type in _KINDS)
    body = orjson.dumps(resource) if _fits(resource) else json.dumps(resource).encode()
    name, text = cast("str", resource_type), Resource(body)
    issues = validation.find_issues(release, name, text)
    if not issues:
        assert not list(find_structure_issues(release, name, text.fields))


def _fits(resource: object) -> bool:
    try:
        orjson.dumps(resource)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize("reading", KINDS, ids=lambda reading: reading.name)
def test_common_readings_of_device_gateways_are_certainly_valid(release: Release, reading: Any) -> None:
    body = json.dumps(observation(reading, "ana", "2025-03-01T08:00:00Z", 72)).encode()
    assert is_certainly_valid(release, "Observation", body)


@pytest.mark.parametrize(
    "name",
    [
        "observation-heart-rate",
        "observation-blood-pressure",
        "device-monitor-7",
        "devicemetric-pressure-channel",
    ],
)
@pytest.mark.parametrize("release", [Release.R4, Release.R5])
def test_common_examples_are_certainly_valid(release: Release, name: str) -> None:
    body = Path(OWN / release / f"{name}.json").read_bytes()
    assert is_certainly_valid(release, orjson.loads(body)["resourceType"], body)


@pytest.mark.parametrize(
    "changed",
    [
        {"valueString": "x"},
        {"component": [{"code": {"text": "x"}, "valueInteger": 1, "valueString": "x"}]},
        {"status": None},
        {"valueQuantity": {"value": "72"}},
        {"effectiveDateTime": "2025-02-29"},
    ],
)
def test_invalid_resources_are_neither_certainly_valid_nor_valid(changed: dict[str, Any]) -> None:
    body = orjson.dumps(observation(KINDS[0], "ana", "2025-03-01T08:00:00Z", 72) | changed)
    assert not is_certainly_valid(Release.R4, "Observation", body)
    with pytest.raises(RequestError):
        validation.validate(Release.R4, "Observation", Resource(body))


@pytest.mark.parametrize("release", Release)
def test_a_usual_subscription_is_certainly_valid(release: Release) -> None:
    text = orjson.dumps(_subscription(release))
    assert is_certainly_valid(release, "Subscription", text)
    twice = [{"url": "urn:x", "valueString": "y", "valueCode": "y"}]
    odd_siblings: list[dict[str, Any]] = [
        *({}, {"extension": []}, {"extension": [{"url": "urn:x"}]}, {"extension": twice})
    ]
    for siblings in odd_siblings:
        odd = _subscription(release) | {"_reason": siblings}
        issues = validation.find_issues(release, "Subscription", Resource(orjson.dumps(odd)))
        assert issues, siblings
