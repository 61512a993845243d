"""The message channel's Bundle (R-340): a MessageHeader whose focus is the complete notification Bundle."""

import uuid

import orjson

from broker.clock import to_instant
from broker.fhir import bundles
from broker.model.notification import Notification
from broker.model.release import Release

EVENTS = "http://fhir-broker.org/message-events"
EVENT = "subscription-notification"
_HEADERS = uuid.UUID("9e2e7a3c-0f2d-5a18-8b61-7f3f5d0d4c20")
_BUNDLES = uuid.UUID("2b1c8a52-3d0e-5c0b-9a57-0c5b8f1f6a11")


def message_bundle(notification: Notification, body: bytes, *, base: str, destination: str) -> bytes:
    """Wraps a finished notification; the same for each attempt (R-209)."""
    header_id = str(uuid.uuid5(_HEADERS, notification.id))
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
            "id": str(uuid.uuid5(_BUNDLES, notification.id)),
            "type": "message",
            "timestamp": to_instant(notification.at_ms),
        },
        [
            bundles.entry({"fullUrl": f"urn:uuid:{header_id}"}, orjson.dumps(header)),
            bundles.entry({"fullUrl": f"urn:uuid:{notification.id}"}, body),
        ],
    )
