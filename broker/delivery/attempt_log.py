"""Makes the entries of the log of attempts: what each attempt sent, and what it came to.

The engine passes them to the commit of the attempt, whose script writes them with the decision. What was sent
over an open connection and trials have no commit: `write` records them after the fact.

An attempt whose dispatcher was killed has no commit of its own either. The next claim of its subscription
says that there was one, and its commit has an entry for it too, with the outcome `interrupted`.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Literal, NamedTuple

import structlog

from broker.channels.exchange import Exchange
from broker.clock import Clock
from broker.errors import StoreUnavailable
from broker.fhir.header_masks import MASK
from broker.model.attempt import Attempt, AttemptOutcome, AttemptText
from broker.model.notification import ErrorReport, Event, Notification, NotificationType
from broker.model.outcome import (
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    PartlyDelivered,
    Refused,
    Unreachable,
    Unrenderable,
)
from broker.model.subscription import SubscriptionKey
from broker.model.trace import parse_traceparent, trace_id
from broker.store.attempt_records import (
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    NewAttempt,
    encode_text,
    new_attempt,
    place,
)
from broker.store.attempts import Attempts
from broker.store.bodies import Bodies
from broker.store.claims import Claim
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
Texts = Literal["off", "failed", "all"]
"""Of which attempts the log has what was sent and answered."""
MAX_BODY_BYTES = 65_536
_SHOWN = frozenset({"accept", "content-type", "prefer"})
"""Headers whose values are nobody's secret. All others are masked."""
_DERIVED = frozenset({WEBHOOK_ID, WEBHOOK_TIMESTAMP})
_OUTCOMES: Mapping[type[DeliveryOutcome], AttemptOutcome] = {
    Delivered: AttemptOutcome.DELIVERED,
    Refused: AttemptOutcome.REFUSED,
    Unreachable: AttemptOutcome.UNREACHABLE,
    EndpointGone: AttemptOutcome.GONE,
    Unrenderable: AttemptOutcome.UNRENDERABLE,
    PartlyDelivered: AttemptOutcome.PARTLY_DELIVERED,
}
_UNKNOWN = ErrorReport(None, "the process ended before the attempt did; the receiver may have got it")
_STOPPED = ErrorReport(None, "the attempt was cancelled; the receiver may have got it")


class Sending(NamedTuple):
    """An attempt under way. The moment is that of the process, as in the signature of the request."""

    exchange: Exchange
    notification_id: str
    endpoint: str
    at_ms: int
    started_s: float


class AttemptLog:
    """One a process. With `is_on` False nothing is recorded."""

    def __init__(
        self, attempts: Attempts, bodies: Bodies, clock: Clock, *, is_on: bool = True, texts: Texts = "off"
    ) -> None:
        self._attempts = attempts
        self._bodies = bodies
        self._clock = clock
        self._is_on = is_on
        self._texts = texts
        self._under_way: dict[SubscriptionKey, Sending] = {}

    def start(self, notification: Notification, endpoint: str | None) -> Sending:
        """A notification is about to be sent, whose result `write` records."""
        return self._sending(notification.id, endpoint)

    def start_claimed(
        self, claim: Claim, notification: Notification, endpoint: str | None
    ) -> Exchange | None:
        """The notification of a claim is about to be sent: where its channel reports to."""
        if not self._is_on:
            return None
        sending = self._sending(notification.id, endpoint)
        self._under_way[claim.tenant, claim.id] = sending
        return sending.exchange

    async def ended(self, claim: Claim, outcome: DeliveryOutcome) -> list[NewAttempt]:
        """The entry of an attempt; before it that of an earlier one that left none."""
        if not self._is_on:
            return []
        error = None if isinstance(outcome, Delivered) else outcome.error
        # without a request nothing could be sent
        sending = self._under_way.pop((claim.tenant, claim.id), None) or self._sending("", "")
        return await self._entries(claim, sending, _OUTCOMES[type(outcome)], error)

    async def cancelled(self, claim: Claim) -> list[NewAttempt]:
        """The entry of an attempt that was cancelled; none where nothing was to be sent yet."""
        sending = self._under_way.pop((claim.tenant, claim.id), None)
        if sending is None:
            return []
        return await self._entries(claim, sending, AttemptOutcome.INTERRUPTED, _STOPPED)

    async def write(
        self,
        subscription: SubscriptionKey,
        notification: Notification,
        sending: Sending,
        outcome: DeliveryOutcome,
    ) -> None:
        """Writes an attempt that no claim stands for: a trial, or what an open connection was sent. While the
        store is unavailable, it is left out.
        """
        if not self._is_on:
            return
        error = None if isinstance(outcome, Delivered) else outcome.error
        events = tuple(focus.event for focus in notification.foci)
        attempt = _attempt(sending, _OUTCOMES[type(outcome)], error, notification.type, events)
        try:
            text = await self._text(subscription, sending.exchange, attempt)
            await self._attempts.append(subscription, [new_attempt(attempt, text)])
        except StoreUnavailable as unavailable:
            metrics.store_errors.inc()
            _log.warning("attempt not recorded", subscription=subscription[1], error=str(unavailable))

    def _sending(self, notification_id: str, endpoint: str | None) -> Sending:
        return Sending(Exchange(), notification_id, endpoint or "", self._clock.now_ms(), time.monotonic())

    async def _entries(
        self, claim: Claim, sending: Sending, outcome: AttemptOutcome, error: ErrorReport | None
    ) -> list[NewAttempt]:
        number, key = claim.attempts + 1, (claim.tenant, claim.id)
        attempt = _attempt(sending, outcome, error, claim.type, claim.events, number, claim.is_repeat)
        try:
            text = await self._text(key, sending.exchange, attempt)
        except StoreUnavailable as unavailable:  # the commit does not wait for this
            metrics.store_errors.inc()
            _log.warning("texts of an attempt not recorded", subscription=claim.id, error=str(unavailable))
            text = b""
        entry = new_attempt(attempt, text)
        if not claim.is_takeover:
            return [entry]
        lost = Sending(Exchange(), "", sending.endpoint, claim.interrupted_ms, time.monotonic())
        interrupted = _attempt(
            lost, AttemptOutcome.INTERRUPTED, _UNKNOWN, claim.type, claim.events, number, claim.is_repeat
        )
        return [new_attempt(interrupted), entry]

    async def _text(self, key: SubscriptionKey, exchange: Exchange, attempt: Attempt) -> bytes:
        """What was sent and answered, packed; b'' where it is not to be stored."""
        is_wanted = self._texts == "all" or (self._texts == "failed" and attempt.is_failed)
        if not is_wanted or exchange.body is None:
            return b""
        key_id = await self._bodies.sealing_key()
        plain = encode_text(AttemptText(exchange.body[:MAX_BODY_BYTES], exchange.answer))
        return self._bodies.pack(plain, key[0], place(key), key_id)


def _attempt(
    sending: Sending,
    outcome: AttemptOutcome,
    error: ErrorReport | None,
    notification_type: NotificationType,
    events: tuple[Event, ...],
    number: int = 0,
    is_repeat: bool = False,
) -> Attempt:
    exchange = sending.exchange
    body = exchange.body
    return Attempt(
        id="",
        at_ms=sending.at_ms,
        duration_ms=round((time.monotonic() - sending.started_s) * 1000),
        outcome=outcome,
        type=notification_type,
        is_repeat=is_repeat,
        number=number,
        first_event=events[0].number if events else 0,
        last_event=events[-1].number if events else 0,
        notification_id=sending.notification_id,
        endpoint=sending.endpoint,
        headers=tuple(
            (name, _shown(name, value)) for name, value in exchange.headers if name != "traceparent"
        ),
        status=exchange.status,
        error_code=(error.code or "") if error else "",
        error=error.text if error else "",
        body_bytes=len(body) if body else 0,
        body_sha256=sha256(body).hexdigest() if body else "",
        trace_id=trace_id(parse_traceparent(events[0].trace)) if events else "",
        has_text=False,
    )


@lru_cache(maxsize=1_000)
def _kind_of_header(name: str) -> Literal["shown", "derived", "masked"]:
    lowered = name.lower()
    return "shown" if lowered in _SHOWN else "derived" if lowered in _DERIVED else "masked"


def _shown(name: str, value: str) -> str:
    """The value of a header as the log has it: that of each attempt follows from its record."""
    kind = _kind_of_header(name)
    return value if kind == "shown" else "" if kind == "derived" else MASK
