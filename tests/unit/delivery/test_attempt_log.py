"""What the log has of an attempt: nothing secret, nothing that was not sent, and nothing twice."""

from hashlib import sha256
from typing import Any, cast

import msgspec
import pytest

from broker.channels.exchange import Headers
from broker.delivery.attempt_log import MAX_BODY_BYTES, AttemptLog, Texts
from broker.errors import StoreUnavailable
from broker.model.attempt import AttemptOutcome, AttemptText
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import DeliveryError, ErrorReport, Event, NotificationType
from broker.model.outcome import Delivered, DeliveryOutcome, Refused, Unreachable, Unrenderable
from broker.model.release import Release
from broker.model.subscription import SubscriptionKey, SubscriptionStatus
from broker.store.attempt_records import NewAttempt, decode_text, place, read_attempt
from broker.store.attempts import Attempts
from broker.store.bodies import UNSEALED, Bodies
from broker.store.claims import Claim
from tests.conformance.channel_fixture import NOTIFICATION

KEY = (DEFAULT_TENANT, NOTIFICATION.subscription)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ERROR = ErrorReport(DeliveryError.ERROR_RESPONSE, "the endpoint answered 503")
URL = "https://ehr.example/hook"


class FixedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return 1_772_000_000_500


class Written:
    """Stands for the store: keeps what is appended, or is unavailable."""

    def __init__(self) -> None:
        self.attempts: list[NewAttempt] = []
        self.is_available = True

    async def append(self, _key: SubscriptionKey, attempts: list[NewAttempt]) -> None:
        if not self.is_available:
            raise StoreUnavailable("the store is unavailable")
        self.attempts += attempts


class LockedBodies(Bodies):
    """The store does not take the id of the key."""

    async def sealing_key(self) -> str:
        raise StoreUnavailable("the store is unavailable")


def log_of(
    texts: Texts = "off", *, written: Written | None = None, bodies: Bodies = UNSEALED, is_on: bool = True
) -> AttemptLog:
    store = cast("Attempts", written or Written())
    return AttemptLog(store, bodies, FixedClock(), is_on=is_on, texts=texts)


def claim_of(**changed: Any) -> Claim:
    event = Event(
        7, 0, VersionKey(DEFAULT_TENANT, "Observation", "o", 1), Release.R4, Interaction.CREATE, trace=TRACE
    )
    claim = Claim(
        tenant=DEFAULT_TENANT,
        id=KEY[1],
        shard=0,
        token=1,
        type=NotificationType.EVENT_NOTIFICATION,
        status=SubscriptionStatus.ACTIVE,
        count=8,
        at_ms=1,
        attempts=2,
        since_ms=0,
        now_ms=1,
        events=(event, event._replace(number=8, trace="")),
        revision="r",
    )
    return msgspec.structs.replace(claim, **changed)


def read(entry: NewAttempt) -> Any:
    flat = [entry.digest.encode(), entry.record]
    return read_attempt(entry.kind, "1-0", flat, {flat[0]: entry.request}, has_text=bool(entry.text))


async def sent(
    log: AttemptLog,
    outcome: DeliveryOutcome,
    headers: Headers = (),
    attempt_headers: Headers = (),
    body: bytes = b"body",
    status: int = 200,
    answer: bytes = b"",
    **changed: Any,
) -> list[NewAttempt]:
    exchange = log.start_claimed(claim_of(**changed), NOTIFICATION, URL)
    assert exchange is not None
    exchange.sent(body, headers, attempt_headers)
    exchange.answered(status, answer)
    return await log.ended(claim_of(**changed), outcome)


async def test_an_attempt_says_what_was_sent_where_and_when() -> None:
    [entry] = await sent(log_of(), Refused(True, ERROR), status=503)
    attempt = read(entry)
    assert entry.kind == "f"
    assert (attempt.outcome, attempt.status, attempt.number) == (AttemptOutcome.REFUSED, 503, 3)
    assert (attempt.first_event, attempt.last_event) == (7, 8)
    assert (attempt.at_ms, attempt.endpoint) == (1_772_000_000_500, URL)
    assert (attempt.error_code, attempt.error) == ("error-response", ERROR.text)
    assert attempt.notification_id == NOTIFICATION.id
    assert (attempt.body_bytes, attempt.body_sha256) == (4, sha256(b"body").hexdigest())
    assert attempt.trace_id == TRACE[3:35]
    assert not attempt.has_text


async def test_values_of_headers_are_masked_but_those_that_are_nobodys_secret() -> None:
    headers = (
        ("Content-Type", "application/fhir+json"),
        ("X-Api-Key", "hunter2"),
        ("If-None-Exist", "identifier=urn:x|p1"),
    )
    of_attempt = (
        ("Authorization", "Bearer t"),
        ("webhook-id", NOTIFICATION.id),
        ("webhook-timestamp", "1772000000"),
        ("webhook-signature", "v1,abc"),
        ("traceparent", TRACE),
    )
    log = log_of()
    [entry] = await sent(log, Delivered(), headers, of_attempt)
    stored = entry.request + entry.record
    assert not any(secret in stored for secret in (b"hunter2", b"urn:x", b"Bearer", b"v1,abc"))
    assert read(entry).headers == (
        ("Content-Type", "application/fhir+json"),
        ("X-Api-Key", "********"),
        ("If-None-Exist", "********"),
        ("Authorization", "********"),
        ("webhook-id", NOTIFICATION.id),
        ("webhook-timestamp", "1772000000"),
        ("webhook-signature", "********"),
    )
    later = (of_attempt[0], ("webhook-id", "n2"), ("webhook-timestamp", "2"), ("webhook-signature", "v1,x"))
    [other] = await sent(log, Delivered(), headers, later)
    assert other.digest == entry.digest, "what differs in each attempt is no part of the request"
    assert other.request == b"", "it was written a moment ago"
    [moved] = await sent(log, Delivered(), headers, later, revision="r2")
    assert moved.request == entry.request


@pytest.mark.parametrize(
    "outcome", [Unrenderable(ERROR), Unreachable(ErrorReport(None, "there is no channel"))]
)
async def test_an_attempt_that_could_send_nothing_says_so(outcome: DeliveryOutcome) -> None:
    [entry] = await log_of("all").ended(claim_of(), outcome)
    attempt = read(entry)
    assert attempt.is_failed
    assert (attempt.endpoint, attempt.headers, attempt.body_bytes, attempt.body_sha256) == ("", (), 0, "")
    assert entry.text == b""


async def test_a_claim_without_a_result_before_it_has_an_entry_too() -> None:
    lost, entry = await sent(log_of("all"), Delivered(), interrupted_ms=1_771_999_999_000)
    attempt = read(lost)
    assert (attempt.outcome, attempt.at_ms) == (AttemptOutcome.INTERRUPTED, 1_771_999_999_000)
    assert (attempt.first_event, attempt.last_event, attempt.endpoint) == (7, 8, URL)
    assert (lost.kind, entry.kind) == ("f", "d")


async def test_a_cancelled_attempt_is_interrupted_once_something_was_to_be_sent() -> None:
    log = log_of()
    assert await log.cancelled(claim_of()) == []
    log.start_claimed(claim_of(), NOTIFICATION, URL)
    [entry] = await log.cancelled(claim_of())
    assert read(entry).outcome is AttemptOutcome.INTERRUPTED
    assert await log.cancelled(claim_of()) == []


@pytest.mark.parametrize(
    ("texts", "outcome", "is_kept"),
    [
        ("off", Refused(True, ERROR), False),
        ("failed", Delivered(), False),
        ("failed", Refused(True, ERROR), True),
        ("all", Delivered(), True),
    ],
)
async def test_what_was_sent_and_answered_is_kept_as_the_setting_says(
    texts: Texts, outcome: DeliveryOutcome, is_kept: bool
) -> None:
    [entry] = await sent(log_of(texts), outcome, body=b"b" * (MAX_BODY_BYTES + 1), answer=b"a" * 2_000)
    assert bool(entry.text) == is_kept
    assert read(entry).body_bytes == MAX_BODY_BYTES + 1
    if is_kept:
        plain = UNSEALED.unpack(entry.text, KEY[0], place(KEY))
        assert decode_text(plain) == AttemptText(b"b" * MAX_BODY_BYTES, b"a" * 1_024)


async def test_a_commit_does_not_wait_for_the_text_of_its_attempt() -> None:
    [entry] = await sent(log_of("all", bodies=LockedBodies()), Delivered())
    assert entry.text == b""
    assert read(entry).body_bytes == 4


async def test_what_no_claim_stands_for_is_written_by_itself_or_left_out() -> None:
    written = Written()
    log = log_of(written=written)
    sending = log.start(NOTIFICATION, "203.0.113.7")
    sending.exchange.sent(b"body")
    await log.write(KEY, NOTIFICATION, sending, Delivered())
    written.is_available = False
    await log.write(KEY, NOTIFICATION, sending, Delivered())
    [entry] = written.attempts
    attempt = read(entry)
    assert (attempt.number, attempt.endpoint, attempt.body_bytes) == (0, "203.0.113.7", 4)


async def test_nothing_is_recorded_where_the_log_is_off() -> None:
    written = Written()
    log = log_of(written=written, is_on=False)
    assert log.start_claimed(claim_of(), NOTIFICATION, URL) is None
    assert await log.ended(claim_of(), Delivered()) == []
    assert await log.cancelled(claim_of()) == []
    await log.write(KEY, NOTIFICATION, log.start(NOTIFICATION, URL), Delivered())
    assert written.attempts == []
