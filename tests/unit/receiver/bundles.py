"""Notification Bundles as brokers of two releases send them, signed or not, and a broker that answers
`$events`.
"""

import base64
import hmac
import json
from collections.abc import Callable, Collection
from typing import Any

import httpx

BASE = "https://broker.example/r5"
SUBSCRIPTION = f"{BASE}/Subscription/ward"
TOPIC = "http://fhir-broker.org/topics/vital-signs"
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
NOW_S = 1_750_000_000
Bundle = dict[str, Any]


def resource(number: int) -> Bundle:
    return {"resourceType": "Observation", "id": f"o{number}", "meta": {"versionId": "1"}}


def r5_bundle(
    *numbers: int, type: str = "event-notification", count: int | None = None, id: str = "n"
) -> Bundle:
    events = [
        {
            "eventNumber": str(number),
            "timestamp": "2025-06-15T15:06:40Z",
            "focus": {"reference": f"{BASE}/Observation/o{number}"},
        }
        for number in numbers
    ]
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": type,
        "eventsSinceSubscriptionStart": str(max(numbers, default=0) if count is None else count),
        "notificationEvent": events,
        "subscription": {"reference": SUBSCRIPTION},
        "topic": TOPIC,
    }
    entries = [
        {"fullUrl": f"{BASE}/Observation/o{number}", "resource": resource(number)} for number in numbers
    ]
    return {
        "resourceType": "Bundle",
        "id": f"{id}-{type}-{'-'.join(map(str, numbers))}",
        "type": "subscription-notification",
        "entry": [{"resource": status}, *entries],
    }


def r4_bundle(*numbers: int) -> Bundle:
    events = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": str(number)},
                {"name": "timestamp", "valueInstant": "2025-06-15T15:06:40Z"},
                {"name": "focus", "valueReference": {"reference": f"{BASE}/Observation/o{number}"}},
            ],
        }
        for number in numbers
    ]
    status = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": SUBSCRIPTION}},
            {"name": "topic", "valueCanonical": TOPIC},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": "event-notification"},
            {"name": "events-since-subscription-start", "valueString": str(max(numbers))},
            *events,
        ],
    }
    entries = [
        {"fullUrl": f"{BASE}/Observation/o{number}", "resource": resource(number)} for number in numbers
    ]
    return {
        "resourceType": "Bundle",
        "id": "r4",
        "type": "history",
        "entry": [{"resource": status}, *entries],
    }


def message_with(bundle: Bundle) -> Bundle:
    """The message of the channel `message`."""
    header = {
        "resourceType": "MessageHeader",
        "eventUri": "http://hl7.org/fhir/StructureDefinition/backport-subscription-notification-r4",
        "source": {"endpoint": BASE},
        "focus": [{"reference": f"urn:uuid:{bundle['id']}"}],
    }
    entries = [{"resource": header}, {"resource": bundle}]
    return {"resourceType": "Bundle", "id": "m", "type": "message", "entry": entries}


def encoded(bundle: Bundle) -> bytes:
    return json.dumps(bundle).encode()


def signed(body: bytes, *, secret: str = SECRET, at_s: int = NOW_S, id: str = "1") -> dict[str, str]:
    """The headers of a signed request."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"{id}.{at_s}.".encode() + body, "sha256")).decode()
    return {"webhook-id": id, "Webhook-Timestamp": str(at_s), "webhook-signature": f"v1,{signature}"}


class EventsServer:
    """Answers `$events` with those events of the range that it `has`, at most `page` of them; with `fails`
    it answers 503.
    """

    def __init__(self, has: Collection[int], *, page: int = 1_000) -> None:
        self.has = has
        self.page = page
        self.fails = False
        self.ranges: list[tuple[int, int]] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = self._answer
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._current))

    def _current(self, request: httpx.Request) -> httpx.Response:
        return self.answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/r5/Subscription/ward/$events"
        query = request.url.params
        first, last = int(query["eventsSinceNumber"]), int(query["eventsUntilNumber"])
        self.ranges.append((first, last))
        if self.fails:
            return httpx.Response(503, text="down")
        numbers = sorted(number for number in self.has if first <= number <= last)[: self.page]
        return httpx.Response(200, json=r5_bundle(*numbers, type="query-event"))
