"""The Bundle of the message channel (R-340): a MessageHeader whose focus is the notification Bundle."""

import orjson

from broker.clock import to_instant
from broker.fhir import bundles
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.uuids import uuid_of_names

EVENTS = "http://fhir-broker.org/message-events"
EVENT = "subscription-notification"


def message_bundle(
    notification: Notification, rendered: Resource, *, base: str, destination: str
) -> Resource:
    """Wraps a rendered notification; the same for each attempt (R-209)."""
    header_id = uuid_of_names("header", notification.id)
    endpoint = "endpointUrl" if notification.release is Release.R5 else "endpoint"
    header = {
        "resourceType": "MessageHeader",
        "id": header_id,
        "eventCoding": {"system": EVENTS, "code": EVENT},
        "destination": [{endpoint: destination}],
        "source": {"name": "fhir-broker", endpoint: base},
        "focus": [{"reference": f"urn:uuid:{notification.id}"}],
    }
    return bundles.bundle(
        {
            "id": uuid_of_names("message", notification.id),
            "type": "message",
            "timestamp": to_instant(notification.at_ms),
        },
        [
            bundles.entry(f"urn:uuid:{header_id}", Resource(orjson.dumps(header))),
            bundles.entry(f"urn:uuid:{notification.id}", rendered),
        ],
    )
