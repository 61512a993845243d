"""What a producer sends: one reading, one FHIR resource, or one Bundle.

Each message has an idempotency key from the beginning, so that every repetition of it, also one after a
restart of the producer, is one change in the broker.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

Payload: TypeAlias = Mapping[str, Any] | str | bytes
"""A mapping is written as JSON. Text is sent as it is, for numbers whose digits matter (`120.0`)."""

FHIR_JSON = "application/fhir+json"
READINGS_PATH = "readings"
MAX_KEY_LENGTH = 256


class Message(NamedTuple):
    """A request without its server: `path` is relative to the URL of the broker."""

    method: str
    path: str
    content_type: str
    body: bytes
    key: str


def reading(payload: Payload, *, key: str = "", content_type: str = "application/json") -> Message:
    """What a device said, as it said it. `content_type` names the format where it is not JSON.

    Without `key`, the message gets a random one.
    """
    return Message("POST", READINGS_PATH, content_type, _body(payload), _key(key))


def resource(document: Payload, *, release: str = "r4", key: str = "") -> Message:
    """A FHIR resource: an update if it has an id, else a create.

    Raises `ValueError` for what is no JSON object with a `resourceType`.
    """
    body = _body(document)
    fields = document if isinstance(document, Mapping) else json.loads(body)
    resource_type = fields.get("resourceType") if isinstance(fields, Mapping) else None
    if not isinstance(resource_type, str) or not resource_type:
        raise ValueError("a resource is a JSON object with a resourceType")
    if resource_type == "Bundle":  # a batch or transaction, which the base takes
        return Message("POST", release, FHIR_JSON, body, _key(key))
    resource_id = fields.get("id")
    if resource_id:
        return Message("PUT", f"{release}/{resource_type}/{resource_id}", FHIR_JSON, body, _key(key))
    return Message("POST", f"{release}/{resource_type}", FHIR_JSON, body, _key(key))


def _body(payload: Payload) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _key(key: str) -> str:
    """Raises `ValueError` for a key that no header can carry."""
    if not key:
        return uuid.uuid4().hex
    if len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise ValueError(f"a key has up to {MAX_KEY_LENGTH} printable ASCII characters")
    return key
