"""What is a valid resource of each release, and how a refusal names what is wrong."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import Issue, Malformed, RequestError, Unprocessable
from broker.fhir import validation
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource

OWN = Path(__file__).parent / "examples"
DOSSIER = Path(__file__).parents[2].parent / "shared" / "spec"
BASE: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}


def own_examples() -> list[tuple[Release, Path]]:
    r4 = sorted((OWN / "r4").glob("*.json"))
    r5 = sorted((OWN / "r5").glob("*.json"))
    return [
        *((Release.R4, path) for path in r4),
        *((Release.R4B, path) for path in r4),
        *((Release.R5, path) for path in r5),
    ]


def dossier_examples() -> list[tuple[Release, Path]]:
    found = []
    paths = [*(DOSSIER / "examples").glob("*.json"), *(DOSSIER / "data/profiles-r4/examples").glob("*.json")]
    for path in sorted(paths):
        if "resourceType" in orjson.loads(path.read_bytes()):
            prefix = path.name.split("-", 1)[0]
            found.append((Release(prefix) if prefix in set(Release) else Release.R4, path))
    return found


def issues_of(changes: dict[str, Any], release: Release = Release.R4) -> list[tuple[str, str | None]]:
    body = {**BASE, **changes}
    with pytest.raises(Unprocessable) as caught:
        validate(
            release, "Observation", Resource(orjson.dumps({k: v for k, v in body.items() if v is not ...}))
        )
    return [(issue.code, issue.expression) for issue in caught.value.issues]


@pytest.mark.parametrize(("release", "path"), own_examples(), ids=lambda value: getattr(value, "name", value))
def test_own_examples_are_valid(release: Release, path: Path) -> None:
    body = path.read_bytes()
    validate(release, orjson.loads(body)["resourceType"], Resource(body))


def test_published_examples_are_valid() -> None:
    examples = dossier_examples()
    if not examples:
        pytest.skip(f"no published examples in {DOSSIER}")
    for release, path in examples:
        body = path.read_bytes()
        try:
            validate(release, orjson.loads(body)["resourceType"], Resource(body))
        except RequestError as error:
            pytest.fail(f"{path.name} in {release}: {error.issues}")


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"code": ...}, [("required", "Observation.code")]),
        ({"status": ...}, [("required", "Observation.status")]),
        ({"pulse": 3}, [("structure", "Observation.pulse")]),
        ({"identifier": {"value": "x"}}, [("structure", "Observation.identifier")]),
        ({"status": "done"}, [("value", "Observation.status")]),
        ({"valueQuantity": {"value": "72"}}, [("value", "Observation.valueQuantity.value")]),
        ({"valueBoolean": "true"}, [("value", "Observation.valueBoolean")]),
        ({"valueBoolean": 1}, [("value", "Observation.valueBoolean")]),
        ({"valueInteger": 1.5}, [("value", "Observation.valueInteger")]),
        ({"valueString": 1}, [("value", "Observation.valueString")]),
        ({"effectiveDateTime": 20240101}, [("value", "Observation.effectiveDateTime")]),
        ({"effectiveDateTime": "2024-13-01"}, [("value", "Observation.effectiveDateTime")]),
        ({"note": None}, [("structure", "Observation.note")]),
        ({"component": []}, [("structure", "Observation.component")]),
        ({"subject": {}}, [("structure", "Observation.subject")]),
        ({"valueString": "a", "valueInteger": 1}, [("invalid", "Observation")]),
        (
            {"valueString": "a", "dataAbsentReason": {"text": "lost"}},
            [("invalid", "Observation.dataAbsentReason")],
        ),
        (
            {"contained": [{"resourceType": "Nothing", "id": "p"}]},
            [("structure", "Observation.contained[0].resourceType")],
        ),
        ({"contained": [{"id": "x"}]}, [("required", "Observation.contained[0].resourceType")]),
        (
            {"contained": [{"resourceType": "Patient", "id": "p", "gender": 3}]},
            [("value", "Observation.contained[0].gender")],
        ),
        (
            {
                "component": [
                    {"code": {"text": "a"}},
                    {"code": {"text": "a"}},
                    {"valueQuantity": {"value": "x"}},
                ]
            },
            [
                ("value", "Observation.component[2].valueQuantity.value"),
                ("required", "Observation.component[2].code"),
            ],
        ),
    ],
    ids=str,
)
def test_each_problem_is_one_issue_with_its_element(
    release: Release, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert sorted(issues_of(changes, release)) == sorted(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataAbsentReason": {"text": "lost"}},
        {"status": ..., "_status": {"extension": [{"url": "http://x", "valueCode": "unknown"}]}},
        {"component": [{"code": {"text": "a"}, "valueInteger": 1}], "dataAbsentReason": {"text": "x"}},
        {"valueQuantity": {"value": 0.1234567890123456789}},
    ],
    ids=str,
)
def test_minimal_observations_are_valid(changes: dict[str, Any]) -> None:
    body = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
    for release in Release:
        validate(release, "Observation", Resource(orjson.dumps(body)))


@pytest.mark.parametrize(
    "number", [b"2.00", b"1e3", b"-0.0", b"1e400", b"123456789012345678901234567890.12345"]
)
def test_any_spelling_of_a_number_is_valid(number: bytes) -> None:
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":'
    for release in Release:
        validate(release, "Observation", Resource(body + number + b"}}"))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e9999", b"1e-9999", b"01"])
def test_an_invalid_number_is_malformed(number: bytes) -> None:
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":'
    with pytest.raises(Malformed):
        validate(Release.R4, "Observation", Resource(body + number + b"}}"))


@pytest.mark.parametrize(
    ("release", "resource", "valid"),
    [
        (Release.R4, {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}}, True),
        (Release.R4, {"resourceType": "Encounter", "status": "completed", "class": {"code": "AMB"}}, False),
        (Release.R5, {"resourceType": "Encounter", "status": "completed"}, True),
        (Release.R5, {"resourceType": "Encounter", "status": "finished"}, False),
        (Release.R4, {"resourceType": "Device", "status": "unknown"}, True),
        (Release.R5, {"resourceType": "Device", "status": "unknown"}, False),
        (Release.R4B, {"resourceType": "Patient", "gender": "F"}, False),
        (Release.R5, {"resourceType": "Patient", "gender": "other"}, True),
        (Release.R4, {"resourceType": "DeviceMetric", "category": "guess", "type": {"text": "x"}}, False),
    ],
)
def test_required_codes_are_those_of_the_release(
    release: Release, resource: dict[str, Any], *, valid: bool
) -> None:
    body = orjson.dumps(resource)
    if valid:
        validate(release, resource["resourceType"], Resource(body))
    else:
        with pytest.raises(Unprocessable):
            validate(release, resource["resourceType"], Resource(body))


def test_the_type_in_the_body_must_be_the_requested_type() -> None:
    for body in (b'{"resourceType":"Patient"}', b"{}", b'{"resourceType":7}'):
        with pytest.raises(Unprocessable) as caught:
            validate(Release.R4, "Observation", Resource(body))
        assert caught.value.issues[0].expression == "resourceType"
    with pytest.raises(Unprocessable) as caught:
        validate(Release.R5, "Media", Resource(b'{"resourceType":"Media"}'))
    assert caught.value.issues[0].code == "not-supported"


def test_types_without_a_table_get_the_basic_checks() -> None:
    for name in UNMODELLED:
        body = orjson.dumps({"resourceType": name, "anything": [{"goes": 1}]})
        validate(Release.R4, name, Resource(body))
        with pytest.raises(Unprocessable):
            validate(Release.R4, name, Resource(orjson.dumps({"resourceType": name, "but": []})))
    contained = [{"resourceType": "MedicinalProduct", "id": "x"}]
    validate(Release.R4, "Observation", Resource(orjson.dumps({**BASE, "contained": contained})))


def test_integers_that_r5_writes_in_quotes_are_valid() -> None:
    status = {
        "resourceType": "SubscriptionStatus",
        "type": "heartbeat",
        "eventsSinceSubscriptionStart": "12",
        "subscription": {"reference": "Subscription/1"},
    }
    validate(Release.R5, "SubscriptionStatus", Resource(orjson.dumps(status)))


def test_the_releases_have_their_number_of_types() -> None:
    assert {release: len(types) for release, types in RESOURCE_TYPES.items()} == {
        Release.R4: 146,
        Release.R4B: 141,
        Release.R5: 158,
    }
    assert "SubscriptionTopic" not in RESOURCE_TYPES[Release.R4]


def test_prepare_accepts_types_with_and_without_a_table() -> None:
    validation.prepare(Release.R4, ["Observation", "MedicinalProduct"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "code", "coding", "resourceType", "id", "x", "_x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("status", "code", "contained", "extension", "valueQuantity", "component", "meta", "text"),
                *("subject", "_status", "effectivePeriod", "valueSampledData", "identifier", "resourceType"),
            ]
        ),
        json_values,
        max_size=4,
    )
)
def test_any_json_is_valid_or_refused_with_reasons(changes: dict[str, Any]) -> None:
    try:
        body = orjson.dumps({**BASE, **changes})
    except orjson.JSONEncodeError:
        return
    for release in Release:
        reasons = refusal(release, body)
        assert reasons is None or (reasons and all(issue.text for issue in reasons))


def refusal(release: Release, body: bytes) -> tuple[Issue, ...] | None:
    try:
        validate(release, "Observation", Resource(body))
    except RequestError as error:
        return error.issues
    return None
