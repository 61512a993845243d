"""What the console says about a delivery: the cause, the affected events, the next attempt and the advice."""

import errno
import ssl

import pytest

from broker.channels.http_post import answer_outcome
from broker.egress.failures import failure_of
from broker.egress.http import HttpFailure, HttpResponse
from broker.egress.requests import Target
from broker.egress.resolver import AddressesRefused, HostUnknown
from broker.model.notification import ErrorReport
from broker.model.outcome import Delivered
from broker.model.subscription import SubscriptionStatus
from broker.services.delivery_standing import advice_for, standing_of
from broker.store.subscriptions import Record
from tests.subscriptions import stored_subscription

ACTIVE, ERROR = SubscriptionStatus.ACTIVE, SubscriptionStatus.ERROR
REQUESTED, OFF = SubscriptionStatus.REQUESTED, SubscriptionStatus.OFF
TARGET = Target.of("https://ward.example/hook")
EXPIRED = ssl.SSLCertVerificationError("certificate has expired")
EXPIRED.verify_message = "certificate has expired"
REFUSED = OSError(errno.ECONNREFUSED, "Connect call failed")


def error_of(answer: HttpResponse | HttpFailure | Exception) -> ErrorReport:
    """What the broker records of a failed attempt."""
    if isinstance(answer, Exception):
        answer = failure_of(answer, TARGET)
    outcome = answer_outcome(answer)
    assert not isinstance(outcome, Delivered)
    return outcome.error


def answered(status: int) -> ErrorReport:
    return error_of(HttpResponse(status, None, b""))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (error_of(REFUSED), "Start the receiver"),
        (error_of(HostUnknown()), "Correct the host name"),
        (error_of(AddressesRefused()), "BROKER_EGRESS_ALLOW"),
        (error_of(EXPIRED), "certificate"),
        (error_of(ssl.SSLError()), "firewall"),
        (error_of(HttpFailure("no-response", "no answer within 10 s")), "too slow"),
        (answered(401), "credentials"),
        (answered(403), "allow the broker"),
        (answered(404), "path"),
        (answered(410), "will not be back"),
        (answered(413), "too large"),
        (answered(422), "does not accept"),
        (answered(429), "fewer requests"),
        (answered(500), "Look at its log"),
        (answered(503), "Look at its log"),
        (answered(307), "no redirects"),
        (ErrorReport(None, "the attempt failed: KeyError"), "the log of the broker"),
    ],
)
def test_each_cause_has_an_advice_of_its_own(error: ErrorReport, words: str) -> None:
    assert words in advice_for(error)


def record(
    status: SubscriptionStatus, *, count: int = 0, cursor: int = 0, error: ErrorReport | None = None
) -> Record:
    return Record(
        stored_subscription(status=status),
        count=count,
        cursor=cursor,
        activated_ms=1,
        error=error,
        attempts=3 if error else 0,
        revision="r",
    )


def test_a_delivery_that_works_has_no_cause_and_no_advice() -> None:
    standing = standing_of(record(ACTIVE, count=2, cursor=2), None)
    assert (standing.cause, standing.advice, standing.is_failing) == ("", "", False)
    assert standing.affected == "No event waits."


def test_a_failure_names_its_cause_the_events_and_what_happens_next() -> None:
    standing = standing_of(record(ACTIVE, count=7, cursor=2, error=answered(500)), 1_000)
    assert standing.is_failing
    assert standing.headline == "Delivery fails: 3 attempts in a row failed."
    assert standing.cause == "the endpoint answered 500 Internal Server Error"
    assert standing.affected == "5 events are not delivered: numbers 3 to 7."
    assert standing.next_step == "The broker attempts it again by itself."
    one = standing_of(record(ACTIVE, count=3, cursor=2, error=answered(500)), None)
    assert one.affected == "1 event is not delivered: number 3."
    assert "under way" in one.next_step


def test_a_subscription_that_gets_nothing_says_how_it_starts_again() -> None:
    for status, word in ((ERROR, "stopped"), (OFF, "off")):
        standing = standing_of(record(status, count=1, error=answered(401)), None)
        assert word in standing.headline
        assert "activated" in standing.next_step
        assert standing.advice.endswith("Then activate it.")
    gone = standing_of(record(OFF, count=1, error=answered(410)), None)
    assert gone.advice.count("activate it") == 1
    handshake = standing_of(record(REQUESTED, error=error_of(REFUSED)), 1_000)
    assert "handshake" in handshake.headline
    assert "repeats" in handshake.next_step
