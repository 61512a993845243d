"""The records of the log of attempts, encoded and decoded here and nowhere else.

A record is small, because each attempt writes one: what the requests of a subscription have in common (its
endpoint and headers) is stored once, under a digest. A text is packed as resources are, and bound to its
subscription.
"""

import uuid
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from broker.model.attempt import Attempt, AttemptOutcome, AttemptText
from broker.model.notification import NotificationType
from broker.model.subscription import SubscriptionKey

DELIVERED = "d"
OUTCOMES: Mapping[AttemptOutcome, str] = {
    AttemptOutcome.DELIVERED: DELIVERED,
    AttemptOutcome.REFUSED: "r",
    AttemptOutcome.UNREACHABLE: "u",
    AttemptOutcome.GONE: "g",
    AttemptOutcome.UNRENDERABLE: "b",
    AttemptOutcome.PARTLY_DELIVERED: "p",
    AttemptOutcome.INTERRUPTED: "i",
}
_OUTCOMES_BY_LETTER = {letter: outcome for outcome, letter in OUTCOMES.items()}
_TYPES = {
    "e": NotificationType.EVENT_NOTIFICATION,
    "r": NotificationType.EVENT_NOTIFICATION,
    "h": NotificationType.HANDSHAKE,
    "b": NotificationType.HEARTBEAT,
}
_LETTERS = {kind: letter for letter, kind in _TYPES.items() if letter != "r"}
_REPEAT = "r"
WEBHOOK_ID, WEBHOOK_TIMESTAMP = "webhook-id", "webhook-timestamp"
"""The headers whose values differ in each attempt, and follow from its record: they are stored without."""
Headers = tuple[tuple[str, str], ...]


class AttemptRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What differs in each attempt. Letters stand for the outcome and the type, `r` for events that are sent
    again.
    """

    at_ms: int
    duration_ms: int
    outcome: str
    type: str
    number: int
    first_event: int
    last_event: int
    notification_id: bytes = b""
    status: int = 0
    body_bytes: int = 0
    body_sha256: bytes = b""
    trace_id: bytes = b""
    error: str = ""
    error_code: str = ""


class NewAttempt(NamedTuple):
    """An attempt as the scripts take it: kind `d` or `f`, digest of the request, request, record, and packed
    text (b'' for none).
    """

    kind: Literal["d", "f"]
    digest: str
    request: bytes
    record: bytes
    text: bytes = b""


class AttemptLimits(NamedTuple):
    """How many attempts of a subscription are kept that delivered, and how many that failed. `has_texts` (1
    or 0): attempts may have texts, which go with them.
    """

    delivered: int = 50
    failed: int = 200
    has_texts: int = 0


DEFAULT_LIMITS = AttemptLimits()
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AttemptRecord).decode
_decode_text = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode
_decode_request = msgspec.json.Decoder(tuple[str, tuple[tuple[str, str], ...]]).decode


class StoredRequest(NamedTuple):
    """What requests of a subscription have in common, and its digest."""

    digest: str
    text: bytes


def request_of(endpoint: str, headers: Headers) -> StoredRequest:
    """The headers have no values that may not be stored."""
    text = msgspec.json.encode((endpoint, headers))
    return StoredRequest(blake2b(text, digest_size=6).hexdigest(), text)


def letter_of(kind: NotificationType, *, is_repeat: bool) -> str:
    """The letter of a type in a record."""
    return _REPEAT if is_repeat else _LETTERS[kind]


def entry_of(record: AttemptRecord, request: StoredRequest, text: bytes = b"") -> NewAttempt:
    """The entry with this record. Without the text of the request (b'') it is known to be stored."""
    kind: Literal["d", "f"] = "d" if record.outcome == DELIVERED else "f"
    return NewAttempt(kind, request.digest, request.text, encode(record), text)


def read_attempt(
    kind: str, entry_id: str, flat: Sequence[bytes], requests: Mapping[bytes, bytes], *, has_text: bool
) -> Attempt:
    """An entry of a stream with its one field, name and value."""
    digest, packed = flat
    record = _decode(packed)
    request = requests.get(digest)
    endpoint, headers = ("", ()) if request is None else _decode_request(request)
    notification_id = str(uuid.UUID(bytes=record.notification_id)) if record.notification_id else ""
    derived = {WEBHOOK_ID: notification_id, WEBHOOK_TIMESTAMP: str(record.at_ms // 1000)}
    return Attempt(
        id=attempt_id(kind, entry_id),
        at_ms=record.at_ms,
        duration_ms=record.duration_ms,
        outcome=_OUTCOMES_BY_LETTER[record.outcome],
        type=_TYPES[record.type],
        is_repeat=record.type == _REPEAT,
        number=record.number,
        first_event=record.first_event,
        last_event=record.last_event,
        notification_id=notification_id,
        endpoint=endpoint,
        headers=tuple((name, derived.get(name, value)) for name, value in headers),
        status=record.status,
        error_code=record.error_code,
        error=record.error,
        body_bytes=record.body_bytes,
        body_sha256=record.body_sha256.hex(),
        trace_id=record.trace_id.hex(),
        has_text=has_text,
    )


def attempt_id(kind: str, entry_id: str) -> str:
    """The public id of an entry: entries of the two streams may have one id."""
    return f"{entry_id}{'f' if kind == 'f' else ''}"


def encode_text(text: AttemptText) -> bytes:
    return encode(tuple(text))


def decode_text(plain: bytes) -> AttemptText:
    return AttemptText(*_decode_text(plain))


def place(subscription: SubscriptionKey) -> str:
    """What the texts of a subscription's attempts are bound to: the store assigns the ids of entries after
    their texts were sealed.
    """
    return f"Subscription/{subscription[1]}/attempt"
