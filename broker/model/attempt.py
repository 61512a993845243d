"""One attempt to send a notification, as the log of attempts has it."""

from enum import StrEnum
from typing import NamedTuple

from broker.model.notification import NotificationType


class AttemptOutcome(StrEnum):
    """What an attempt came to. All but `DELIVERED` are failures."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    GONE = "gone"
    UNRENDERABLE = "unrenderable"
    PARTLY_DELIVERED = "partly-delivered"
    INTERRUPTED = "interrupted"


class Attempt(NamedTuple):
    """One attempt.

    `number` is 1 for the first attempt of a notification, 0 for a trial and for what was sent over an open
    connection. `first_event` and `last_event` are 0 for a notification without events. `is_repeat`: its
    events were delivered before. `headers` are those of the request, with masks for values that may be
    secret. `status` is that of HTTP, 0 where none was answered. `body_sha256` (hex), `body_bytes`, `endpoint`
    and `headers` are about what was sent: empty where nothing was. `has_text`: body and answer are stored.
    """

    id: str
    at_ms: int
    duration_ms: int
    outcome: AttemptOutcome
    type: NotificationType
    is_repeat: bool
    number: int
    first_event: int
    last_event: int
    notification_id: str
    endpoint: str
    headers: tuple[tuple[str, str], ...]
    status: int
    error_code: str
    error: str
    body_bytes: int
    body_sha256: str
    trace_id: str
    has_text: bool

    @property
    def is_failed(self) -> bool:
        return self.outcome is not AttemptOutcome.DELIVERED


class AttemptText(NamedTuple):
    """The beginning of what was sent, and of what was answered."""

    body: bytes
    answer: bytes
