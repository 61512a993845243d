"""The message channel's Bundle (R-340): a MessageHeader whose focus is the complete notification Bundle."""

import orjson

from broker.clock import to_instant
from broker.fhir import bundles
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.uuids import derived

EVENTS = "http://fhir-broker.org/message-events"
EVENT = "subscription-notification"


def message_bundle(notification: Notification, body: bytes, *, base: str, destination: str) -> bytes:
    """Wraps a finished notification; the same for each attempt (R-209)."""
    header_id = derived("header", notification.id)
    place = "endpointUrl" if notification.release is Release.R5 else "endpoint"
    header = {
        "resourceType": "MessageHeader",
        "id": header_id,
        "eventCoding": {"system": EVENTS, "code": EVENT},
        "destination": [{place: destination}],
        "source": {"name": "fhir-broker", place: base},
        "focus": [{"reference": f"urn:uuid:{notification.id}"}],
    }
    return bundles.bundle(
        {
            "id": derived("message", notification.id),
            "type": "message",
            "timestamp": to_instant(notification.at_ms),
        },
        [
            bundles.entry(f"urn:uuid:{header_id}", orjson.dumps(header)),
            bundles.entry(f"urn:uuid:{notification.id}", body),
        ],
    )
