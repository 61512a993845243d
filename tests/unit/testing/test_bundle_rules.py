"""The rules for notification Bundles: a valid one of each release, and one change for each rule."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from broker.testing.bundle_rules import rule_findings
from broker.testing.validity import findings_in_notification

BASE = "https://broker.example/fhir"
Bundle = dict[str, Any]
Change = Callable[[Bundle], object]


def status(release: str) -> Bundle:
    if release != "r4":
        return {
            "resourceType": "SubscriptionStatus",
            "type": "event-notification",
            "eventsSinceSubscriptionStart": "1",
            "subscription": {"reference": f"{BASE}/Subscription/1"},
            "notificationEvent": [{"eventNumber": "1"}],
        }
    number = {"name": "event-number", "valueString": "1"}
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/1"}},
            {"name": "type", "valueCode": "event-notification"},
            {"name": "events-since-subscription-start", "valueString": "1"},
            {"name": "notification-event", "part": [number]},
        ],
    }


def bundle(release: str) -> Bundle:
    first: Bundle = {"fullUrl": "urn:uuid:1", "resource": status(release)}
    focus: Bundle = {"fullUrl": f"{BASE}/Observation/1", "request": {"method": "PUT", "url": "Observation/1"}}
    if release == "r5":
        return {"resourceType": "Bundle", "type": "subscription-notification", "entry": [first, focus]}
    first |= {"request": {"method": "GET", "url": "Subscription/1/$status"}, "response": {"status": "200"}}
    return {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [first, focus | {"response": {"status": "200"}}],
    }


def test_of_a_message_the_notification_in_it_is_judged() -> None:
    wrong = bundle("r4")
    del wrong["entry"][1]["response"]
    header = {"resourceType": "MessageHeader"}
    message = {
        "resourceType": "Bundle",
        "type": "message",
        "entry": [{"resource": header}, {"resource": wrong}],
    }
    assert findings_in_notification(orjson.dumps(message))[0] == "R-203: entry 1 has no response"


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
def test_a_notification_as_it_has_to_be_has_no_finding(release: str) -> None:
    assert rule_findings(bundle(release)) == ()


@pytest.mark.parametrize(
    ("release", "change", "finding"),
    [
        ("r4", lambda b: b["entry"].reverse(), "R-200: the first entry is no status of a Subscription"),
        ("r5", lambda b: b["entry"].clear(), "R-200: the first entry is no status of a Subscription"),
        ("r4", lambda b: b.update(type="collection"), "R-201: the Bundle is a collection, not a history"),
        (
            "r5",
            lambda b: b.update(type="collection"),
            "R-202: the Bundle is a collection, not a subscription-notification",
        ),
        ("r5", lambda b: b["entry"][1].pop("fullUrl"), "R-202: entry 1 has no fullUrl"),
        ("r4", lambda b: b["entry"][0].pop("request"), "R-203: entry 0 has no request"),
        ("r4b", lambda b: b["entry"][1].pop("response"), "R-203: entry 1 has no response"),
        (
            "r4b",
            lambda b: b["entry"][0]["request"].update(url="Subscription/1"),
            "R-204: the request of the status entry is not GET Subscription/[id]/$status",
        ),
        ("r5", lambda b: b["entry"][0].update(response={}), "R-207: entry 0 has a response"),
        (
            "r5",
            lambda b: b["entry"][0]["resource"].pop("subscription"),
            "R-220: the status has no subscription",
        ),
        ("r4", lambda b: b["entry"][0]["resource"]["parameter"].pop(1), "R-220: the status has no type"),
        (
            "r5",
            lambda b: b["entry"][0]["resource"].update(notificationEvent=[]),
            "R-223: an event-notification has no notificationEvent",
        ),
        (
            "r4b",
            lambda b: b["entry"][0]["resource"].update(eventsSinceSubscriptionStart=1),
            "R-221: 1 is no number in a string",
        ),
        (
            "r4",
            lambda b: b["entry"][0]["resource"]["parameter"][3]["part"][0].update(valueString="01"),
            "R-221: '01' is no number in a string",
        ),
    ],
)
def test_a_change_is_found(release: str, change: Change, finding: str) -> None:
    changed = copy.deepcopy(bundle(release))
    change(changed)
    assert rule_findings(changed) == (finding,)
