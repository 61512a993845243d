"""The published examples of notifications, Subscriptions and topics are read and written."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.fhir.release import adapter
from broker.fhir.topics import parse_topic
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.receiver.notifications import ReceivedNotification, read_notification
from tests.fhir import rows
from tests.fhir.rows import Sent, read_back

HISTORY = [Release.R4, Release.R4B]
Document = dict[str, Any]
EXAMPLES = Path(__file__).parents[3] / "shared" / "spec" / "examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the published examples are not beside this checkout"
)


def _example(name: str) -> Document:
    loaded: Document = orjson.loads((EXAMPLES / f"{name}.json").read_bytes())
    return loaded


def _release_of(name: str) -> Release:
    return Release(name.partition("-")[0])


def _names(kind: str) -> list[str]:
    """The examples of that resource type, by file name."""
    names = sorted(path.stem for path in EXAMPLES.glob("r*.json"))
    return [name for name in names if _example(name)["resourceType"] == kind]


# the subscription is a string there, where the profile wants a Reference
NO_REFERENCE = {"r4-notification-handshake-candle", "r4-notification-id-only-candle"}
# no request or no response on an entry of a history Bundle
NO_REQUEST = NO_REFERENCE | {
    "r4-notification-empty-NONCONFORMANT-inferno",
    "r4b-notification-handshake-candle",
}


def _notification(name: str) -> bytes:
    """The notification Bundle of an example; of a message, the Bundle in it (R-340)."""
    body = (EXAMPLES / f"{name}.json").read_bytes()
    bundle = orjson.loads(body)
    return orjson.dumps(bundle["entry"][1]["resource"]) if bundle["type"] == "message" else body


def _read(name: str) -> ReceivedNotification | None:
    try:
        return read_notification(_notification(name))
    except (KeyError, ValueError, TypeError):
        return None


def _lacks_request(name: str) -> bool:
    """Whether R-203 is broken, as the check of our own notifications sees it."""
    body = _notification(name)
    sent = Sent(body, _release_of(name), PayloadContent.ID_ONLY, "", "", "")
    try:
        rows.r_203_r_207_request_and_response(sent)
    except AssertionError:
        return True
    return False


@needs_examples
def test_every_published_notification_is_read_and_those_that_break_a_rule_are_found() -> None:
    names = [name for name in _names("Bundle") if "notification" in name]
    assert len(names) >= 40
    notifications = {name: _read(name) for name in names}
    assert {name for name, notification in notifications.items() if notification is None} == NO_REFERENCE
    for name, notification in notifications.items():
        if notification is None:
            continue
        expected = "subscription-notification" if name.startswith("r5") else "history"
        assert notification.bundle_type == expected, name
        assert notification.type in rows._TYPES, name
        assert "/" in notification.subscription, name
        has_events = notification.type in {"event-notification", "query-event"}
        assert bool(notification.events) is has_events, name
        assert all(event.number > 0 for event in notification.events), (
            "R-221: strings and bare numbers are read"
        )
        is_empty = "empty" in name or name == "r5-notification-error"
        assert all(bool(event.focus) is not is_empty for event in notification.events), "R-240"
        if not is_empty and "id-only" not in name and notification.type == "event-notification":
            assert notification.resources, "R-243"
    assert {name for name in names if not name.startswith("r5") and _lacks_request(name)} == NO_REQUEST


# a client can't submit the status of a response, nor an end that has passed
SUBMITTED = {"status": "requested", "end": None}


@needs_examples
def test_every_published_subscription_and_topic_is_read_and_written_in_every_release() -> None:
    subscriptions, topics = _names("Subscription"), _names("SubscriptionTopic")
    assert len(subscriptions) >= 12
    assert len(topics) >= 9
    for name in subscriptions:
        changed = _example(name) | SUBMITTED
        document = {element: value for element, value in changed.items() if value is not None}
        releases = HISTORY if name.startswith("r4-r4b") else [_release_of(name)]
        for release in releases:
            parsed = adapter(release).parse_subscription(
                Resource(orjson.dumps(document)), tenant=DEFAULT_TENANT, id="s1"
            )
            rendered = orjson.loads(adapter(release).render_subscription(parsed).text)
            server_elements = {"id", "meta", "error"}
            kept = {element: value for element, value in document.items() if element not in server_elements}
            assert {element: rendered.get(element) for element in kept} == kept, name
            for other in Release:
                read_back(other, adapter(other).render_subscription(parsed).text)
    for name in topics:
        topic = parse_topic(Resource((EXAMPLES / f"{name}.json").read_bytes()))
        assert topic.focus_types, name
        for release in Release:
            read_back(release, adapter(release).render_topic(topic).text)


def test_r_238_parameters_that_are_reordered_or_unknown_do_not_hinder_reading() -> None:
    parts = [
        {"name": "focus", "valueReference": {"reference": "http://x/Observation/1"}},
        {"name": "something-else", "part": [{"name": "x", "valueString": "y"}]},
        {"name": "event-number", "valueString": "3"},
    ]
    parameters = [
        {"name": "notification-event", "part": parts},
        {"name": "of-another-maker", "valueString": "x"},
        {"name": "type", "valueCode": "event-notification"},
        {"name": "events-since-subscription-start", "valueString": "3"},
        {"name": "status", "valueCode": "active"},
        {"name": "subscription", "valueReference": {"reference": "http://x/Subscription/1"}},
    ]
    status = {"resourceType": "Parameters", "id": "1", "parameter": parameters}
    bundle = {"resourceType": "Bundle", "id": "1", "type": "history", "entry": [{"resource": status}]}
    notification = read_notification(orjson.dumps(bundle))
    assert (notification.type, notification.events_since_start, notification.events[0].number) == (
        "event-notification",
        3,
        3,
    )
    assert notification.events[0].focus == "http://x/Observation/1"
