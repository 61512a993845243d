"""Makes the entries of the log of attempts: what each attempt sent, and what it came to.

The engine passes them to the commit of the attempt, whose script writes them with the decision. What was sent
over an open connection and trials have no commit: `write` records them after the fact.

An attempt whose dispatcher was killed has no commit of its own either. The next claim of its subscription
says that there was one, and its commit has an entry for it too, with the outcome `interrupted`.
"""

import time
from hashlib import sha256
from typing import Literal, NamedTuple

import structlog

from broker.channels.exchange import Exchange, Headers
from broker.clock import Clock
from broker.delivery.attempt_outcomes import ATTEMPT_OUTCOMES
from broker.errors import StoreUnavailable
from broker.fhir.header_masks import MASK
from broker.model.attempt import AttemptOutcome, AttemptText
from broker.model.notification import ErrorReport, Event, Notification
from broker.model.outcome import Delivered, DeliveryOutcome
from broker.model.subscription import SubscriptionKey
from broker.model.trace import parse_traceparent, trace_id
from broker.recently_used import RecentlyUsed
from broker.store.attempt_records import (
    DELIVERED,
    OUTCOMES,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    AttemptRecord,
    NewAttempt,
    StoredRequest,
    encode_text,
    entry_of,
    letter_of,
    place,
    request_of,
)
from broker.store.attempts import Attempts
from broker.store.bodies import Bodies
from broker.store.claims import Claim
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
Texts = Literal["off", "failed", "all"]
"""Of which attempts the log has what was sent and answered."""
MAX_BODY_BYTES = 65_536
_MAX_REQUESTS, _REQUESTS_S = 10_000, 300.0
_WRITTEN_S = 60.0
"""So long a process relies on the request that it wrote: after a store came back with older data, attempts of
this time may lack their endpoint and headers.
"""
_RequestKey = tuple[str, Headers, tuple[str, ...]]
"""Endpoint, headers, and the names of those that differ in each attempt."""
_SHOWN = frozenset({"accept", "content-type"})
"""Headers whose values are nobody's secret. All others are masked."""
_DERIVED = frozenset({WEBHOOK_ID, WEBHOOK_TIMESTAMP})
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
        self._requests = RecentlyUsed[_RequestKey, StoredRequest](_MAX_REQUESTS, _REQUESTS_S)
        self._stored: dict[tuple[SubscriptionKey, str, str], float] = {}
        """When the request of a digest was last written, by subscription and revision."""

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
        return await self._entries(claim, sending, ATTEMPT_OUTCOMES[type(outcome)], error)

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
        record = _record(
            sending,
            ATTEMPT_OUTCOMES[type(outcome)],
            error,
            letter_of(notification.type, is_repeat=False),
            events,
            0,
        )
        try:
            text = await self._text(subscription, sending.exchange, record)
            entry = entry_of(record, self._request(sending), text)
            await self._attempts.append(subscription, [entry])
        except StoreUnavailable as unavailable:
            metrics.store_errors.inc()
            _log.warning("attempt not recorded", subscription=subscription[1], error=str(unavailable))

    def _sending(self, notification_id: str, endpoint: str | None) -> Sending:
        return Sending(Exchange(), notification_id, endpoint or "", self._clock.now_ms(), time.monotonic())

    async def _entries(
        self, claim: Claim, sending: Sending, outcome: AttemptOutcome, error: ErrorReport | None
    ) -> list[NewAttempt]:
        number, key = claim.attempts + 1, (claim.tenant, claim.id)
        letter = letter_of(claim.type, is_repeat=claim.is_repeat)
        record = _record(sending, outcome, error, letter, claim.events, number)
        text = b"" if self._texts == "off" else await self._text_or_none(key, sending.exchange, record)
        request = self._request(sending)
        entry = entry_of(record, self._unless_stored(key, claim.revision, request), text)
        if not claim.is_takeover:
            return [entry]
        lost = Sending(Exchange(), "", sending.endpoint, claim.interrupted_ms, time.monotonic())
        interrupted = _record(lost, AttemptOutcome.INTERRUPTED, _UNKNOWN, letter, claim.events, number)
        return [entry_of(interrupted, self._request(lost)), entry]

    def _request(self, sending: Sending) -> StoredRequest:
        exchange = sending.exchange
        names = tuple([name for name, _ in exchange.attempt_headers])
        key = (sending.endpoint, exchange.headers, names)
        request = self._requests.get(key)
        if request is None:
            headers = [(name, _shown(name, value)) for name, value in exchange.headers]
            headers += [(name, _shown(name, "")) for name in names if name != "traceparent"]
            request = request_of(sending.endpoint, tuple(headers))
            self._requests.put(key, request)
        return request

    def _unless_stored(self, key: SubscriptionKey, revision: str, request: StoredRequest) -> StoredRequest:
        """Without its text if this process has written it in the last minute."""
        place_of = (key, revision, request.digest)
        now_s = time.monotonic()
        written_s = self._stored.get(place_of)
        if written_s is not None and now_s - written_s < _WRITTEN_S:
            return StoredRequest(request.digest, b"")
        if len(self._stored) >= _MAX_REQUESTS:
            self._stored.clear()
        self._stored[place_of] = now_s
        return request

    async def _text_or_none(self, key: SubscriptionKey, exchange: Exchange, record: AttemptRecord) -> bytes:
        """What `_text` gives; the commit does not wait for it."""
        try:
            return await self._text(key, exchange, record)
        except StoreUnavailable as unavailable:
            metrics.store_errors.inc()
            _log.warning("texts of an attempt not recorded", subscription=key[1], error=str(unavailable))
            return b""

    async def _text(self, key: SubscriptionKey, exchange: Exchange, record: AttemptRecord) -> bytes:
        """What was sent and answered, packed; b'' where it is not to be stored."""
        is_wanted = self._texts == "all" or (self._texts == "failed" and record.outcome != DELIVERED)
        if not is_wanted or exchange.body is None:
            return b""
        key_id = await self._bodies.sealing_key()
        plain = encode_text(AttemptText(exchange.body[:MAX_BODY_BYTES], exchange.answer))
        return self._bodies.pack(plain, key[0], place(key), key_id)


def _record(
    sending: Sending,
    outcome: AttemptOutcome,
    error: ErrorReport | None,
    letter: str,
    events: tuple[Event, ...],
    number: int,
) -> AttemptRecord:
    exchange = sending.exchange
    body = exchange.body
    return AttemptRecord(
        sending.at_ms,
        round((time.monotonic() - sending.started_s) * 1000),
        OUTCOMES[outcome],
        letter,
        number,
        events[0].number if events else 0,
        events[-1].number if events else 0,
        bytes.fromhex(sending.notification_id.replace("-", "")),
        exchange.status,
        len(body) if body else 0,
        sha256(body).digest() if body else b"",
        _trace_of(events[0].trace) if events and events[0].trace else b"",
        error.text if error else "",
        (error.code or "") if error else "",
    )


def _trace_of(traceparent: str) -> bytes:
    """The bytes of the trace id."""
    return bytes.fromhex(trace_id(parse_traceparent(traceparent)))


def _shown(name: str, value: str) -> str:
    """The value of a header as the log has it: that of each attempt follows from its record."""
    lowered = name.lower()
    return value if lowered in _SHOWN else "" if lowered in _DERIVED else MASK
