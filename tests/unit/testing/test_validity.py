"""The judge of notification Bundles: what it finds invalid in each release, and what it cannot judge."""

from copy import deepcopy
from typing import Any

import orjson
import pytest

from broker.testing.validity import findings_in

_SUBSCRIPTION = {"reference": "http://127.0.0.1/r4/Subscription/a"}
_OBSERVATION = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "pulse"}}
_STATUS = {
    "r4": {
        "resourceType": "Parameters",
        "parameter": [{"name": "subscription", "valueReference": _SUBSCRIPTION}],
    },
    "r4b": {"resourceType": "SubscriptionStatus", "type": "handshake", "subscription": _SUBSCRIPTION},
    "r5": {"resourceType": "SubscriptionStatus", "type": "handshake", "subscription": _SUBSCRIPTION},
}
RELEASES = sorted(_STATUS)


def bundle(release: str, *resources: dict[str, Any]) -> dict[str, Any]:
    is_history = release != "r5"
    more: dict[str, Any] = {"request": {"method": "GET", "url": "a"}, "response": {"status": "200"}}
    entries = [
        {"fullUrl": f"urn:uuid:{n}", "resource": resource} | (more if is_history else {})
        for n, resource in enumerate([_STATUS[release], *resources])
    ]
    kind = "history" if is_history else "subscription-notification"
    return deepcopy({"resourceType": "Bundle", "id": "b", "type": kind, "entry": entries})


def findings(document: object) -> tuple[str, ...]:
    return findings_in(orjson.dumps(document))


@pytest.mark.parametrize("release", RELEASES)
def test_a_valid_bundle_has_no_finding(release: str) -> None:
    assert findings(bundle(release, _OBSERVATION)) == ()


@pytest.mark.parametrize("release", RELEASES)
def test_a_finding_is_reported_with_its_path(release: str) -> None:
    wrong = bundle(release, _OBSERVATION | {"id": "not an id"})
    del wrong["entry"][1]["resource"]["code"]
    identifier, code = findings(wrong)
    assert identifier.startswith("Bundle.entry[1].resource.id: ")
    assert code.startswith("Bundle.entry[1].resource.code: ")
    assert findings(bundle(release) | {"kind": "x"})[0].startswith("Bundle.kind: ")


def test_a_bundle_of_r4b_is_not_judged_as_one_of_r5() -> None:
    assert findings(bundle("r4b") | {"issues": {"resourceType": "OperationOutcome"}})  # an element of R5
    late = bundle("r5")
    late["entry"][0]["resource"]["notificationEvent"] = [{"timestamp": "2025-03-01T08:00:00Z"}]
    assert findings(late)[0].startswith("Bundle.entry[0].resource.notificationEvent[0].eventNumber: ")


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "MedicinalProduct", "anything": 1},
        {"resourceType": "Evidence", "name": "of R4", "exposureBackground": {"reference": "Group/1"}},
        _OBSERVATION | {"contained": [{"resourceType": "MedicinalProduct"}]},
    ],
    ids=["of R4 only", "changed in R4B", "contained"],
)
def test_resources_of_r4_without_a_model_are_left_out(resource: dict[str, Any]) -> None:
    assert findings(bundle("r4", resource)) == ()
    assert findings(bundle("r4b", resource)), "R4B does not have it either"
    assert findings(bundle("r4", resource, {"resourceType": "Observation"})), "the others are judged"


@pytest.mark.parametrize("release", ["r4b", "r5"])
def test_a_resource_of_an_unknown_type_is_a_finding(release: str) -> None:
    (finding,) = findings(bundle(release, {"resourceType": "Unheard"}))
    assert finding.startswith("Bundle.entry: ")
    assert finding.endswith("Unheard")


def test_what_is_no_bundle_is_a_finding() -> None:
    assert findings([]) == findings(_OBSERVATION) == ("it is not a Bundle",)
