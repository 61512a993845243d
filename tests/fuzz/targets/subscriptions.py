"""Subscriptions, topics and operations as clients send them: registered, or refused with the element's name.

The first line is the path below the root, the rest the body. A path that ends in an id is put, others are
posted.
"""

import json
import re

from broker.testing.registration import subscription
from tests.fuzz.broker_app import APP, REPOSITORY
from tests.fuzz.samples import OBSERVATION
from tests.fuzz.target import Target

_HEADERS = (("Content-Type", "application/fhir+json"),)
_PATH = re.compile(r"r4b?|r5")
_NAMED = re.compile(r"[^$]*/[A-Za-z]+/[^/$]+")


def check(data: bytes) -> None:
    line, _, body = data.partition(b"\n")
    path = line.decode("utf-8", "ignore")
    APP.request("PUT" if _NAMED.fullmatch(path) else "POST", f"/{path}", _HEADERS, body)


def _subscription(release: str, *filters: str) -> str:
    topic = "http://hl7.org/SubscriptionTopic/admission"
    return json.dumps(
        subscription(release, topic, "http://127.0.0.1:9/", filters=list(filters), heartbeat_s=60)
    )


def _parameters(name: str, resource: object) -> str:
    return json.dumps({"resourceType": "Parameters", "parameter": [{"name": name, "resource": resource}]})


_TOPIC = {
    "resourceType": "SubscriptionTopic",
    "id": "t",
    "url": "http://example.org/t",
    "status": "active",
    "resourceTrigger": [
        {
            "resource": "Observation",
            "supportedInteraction": ["create"],
            "queryCriteria": {"current": "status=final", "resultForCreate": "test-passes"},
            "fhirPathCriteria": "%current.status = 'final'",
        }
    ],
    "canFilterBy": [
        {"resource": "Observation", "filterParameter": "code", "modifier": ["not"], "comparator": ["eq"]}
    ],
    "notificationShape": [{"resource": "Observation", "include": ["Observation:subject"]}],
}
_SHIPPED = sorted((REPOSITORY / "topics").rglob("*.json"))
TARGET = Target(
    check,
    [
        "r4/Subscription\n" + _subscription("r4", "patient=Patient/1"),
        "r4b/Subscription\n" + _subscription("r4b", "Encounter?patient=Patient/1"),
        "r5/Subscription\n" + _subscription("r5", "patient=Patient/1"),
        "r5/Subscription/$dry-run\n" + _parameters("subscription", json.loads(_subscription("r5"))),
        "r5/SubscriptionTopic/$try\n" + _parameters("topic", _TOPIC),
        "r5/Subscription/a/$explain\n" + _parameters("resource", OBSERVATION),
        "r4/Subscription/$status\n" + '{"resourceType":"Parameters","parameter":[{"name":"id"}]}',
        "r5/Subscription/a/$resend\n{}",
        "r5/SubscriptionTopic/t\n" + json.dumps(_TOPIC),
        "r4b/SubscriptionTopic/t\n" + json.dumps(_TOPIC),
        "r4/Basic\n" + '{"resourceType":"Basic","code":{"text":"x"}}',
        "r5/$dead-letters\n",
        "r5/$redrive\n" + '{"resourceType":"Parameters","parameter":[{"name":"id","valueString":"a"}]}',
        'r5/Subscription\n{"resourceType":"Subscription","status":"requested","end":"2024-13-45"}',
        'r5/Subscription\n{"resourceType":"Subscription","end":"0001-01-01T00:00:00+14:00"}',
        'r5/Subscription\n{"resourceType":"Subscription","end":"9999-12-31T23:59:59-14:00"}',
        'r4/Subscription\n{"resourceType":"Subscription","channel":{"header":["a","b: c\\r\\nd: e"]}}',
        *(f"r5/SubscriptionTopic/{path.stem}\n{path.read_text()}" for path in _SHIPPED[:2]),
    ],
    """
    "filterBy":[ "filterParameter":" "comparator":"gt" "modifier":" "endpoint":"https://[a]@" "end":"
    "heartbeatPeriod": "maxCount": "timeout": "parameter":[ "fhirPathCriteria":" "current":" null
    "_criteria":{"extension":[ "valueString":" "include":[" "derivedFrom":[" "resource":"*" -1 1e9
    """,
    max_bytes=3000,
)
