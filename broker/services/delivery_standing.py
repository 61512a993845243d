"""Says in plain words where the delivery of a Subscription stands: the cause of a failure, the events it
affects, when the broker attempts again, and what a person does next. Pure; the console shows it.
"""

import re
from dataclasses import dataclass

from broker.model.notification import DeliveryError, ErrorReport
from broker.model.subscription import SubscriptionStatus
from broker.model.wording import are, count_of
from broker.store.subscriptions import Record

_STATUS = re.compile(r"the endpoint answered (\d{3})\b")
_ADVICE_BY_STATUS = {
    "401": "The receiver refuses the credentials. Correct the Authorization header of the Subscription, or "
    "what the operator configured for this endpoint.",
    "403": "The receiver does not allow the request. Ask its operator to allow the broker, or give the "
    "Subscription other credentials.",
    "404": "Nothing answers at this path. Correct the endpoint, or deploy the receiver there.",
    "410": "The receiver will not be back. Delete the Subscription, or correct its endpoint and activate it.",
    "413": "The notification is too large for the receiver. Lower maxCount, or ask for id-only.",
    "429": "The receiver asks for fewer requests. Raise its limit, or send more events in one by maxCount.",
}
_CERTIFICATE = (
    "Renew or correct the certificate of the receiver: its name, its dates, its chain. Name an authority of "
    "your own in BROKER_EGRESS_CA_FILE."
)
_SLOW = "The receiver is too slow or hangs. Look at its load; it should answer first and work afterwards."
_NOT_LISTENING = "Nothing listens at this address and port. Start the receiver, or correct the endpoint."
_FORBIDDEN_ADDRESS = (
    "The broker may not contact this address. Use a public https address, or allow its network in "
    "BROKER_EGRESS_ALLOW."
)
_ADVICE_BY_TEXT = {
    "certificate": _CERTIFICATE,
    "no answer within": _SLOW,
    "Connection refused": _NOT_LISTENING,
    "may be notified": _FORBIDDEN_ADDRESS,
}
_ADVICE_BY_CODE = {
    DeliveryError.DNS: "Correct the host name in the endpoint, or the name server that the broker uses.",
    DeliveryError.NO_RESPONSE: "Check that the receiver runs, and that no firewall or proxy is in between.",
    DeliveryError.ERROR_RESPONSE: "Look at the log of the receiver at the time of the attempt.",
}
_SERVER_ERROR = "The receiver failed. Look at its log at the time of the attempt, and start it again."
_REDIRECT = "Register the address that the endpoint points to: the broker follows no redirects."
_REFUSED = "The receiver does not accept the notification. Look at its log, and compare what it expects."
_OTHER = "Read the attempts below, and the log of the broker at their time."


@dataclass(frozen=True, slots=True)
class Standing:
    """What the page of a Subscription says first: `next_step` is what the broker does, `advice` what a person
    does. `cause` and `advice` are '' where nothing failed.
    """

    headline: str
    cause: str
    affected: str
    next_step: str
    advice: str
    is_failing: bool


def standing_of(record: Record, next_attempt_ms: int | None) -> Standing:
    """Where the delivery stands. The moment of the next attempt is for the page to show."""
    status, error = record.subscription.status, record.error
    cause = "" if error is None else error.text
    is_retried = next_attempt_ms is not None
    match status:
        case SubscriptionStatus.ACTIVE if error is None:
            headline = "Events are delivered." if record.count else "It is active and had no event yet."
            next_step = "The broker sends the next event as soon as it happens."
        case SubscriptionStatus.ACTIVE:
            headline = f"Delivery fails: {count_of(record.attempts, 'attempt')} in a row failed."
            next_step = (
                "The broker attempts it again by itself."
                if is_retried
                else "An attempt is under way, or due at any moment."
            )
        case SubscriptionStatus.REQUESTED:
            headline = "The handshake has not succeeded yet."
            next_step = (
                "The broker repeats the handshake by itself."
                if is_retried
                else "The handshake is under way, or due at any moment."
            )
        case SubscriptionStatus.ERROR:
            headline = "Delivery has stopped after too many failures."
            next_step = (
                "Nothing is sent until it is activated. Its events are kept and sent then, as long as the "
                "retention keeps them."
            )
        case _:
            headline = f"It is {status}: nothing is sent, and changes are no events of it."
            next_step = "Nothing is sent until it is activated."
    return Standing(headline, cause, _affected(record), next_step, _advice(record), error is not None)


def advice_for(error: ErrorReport) -> str:
    """What a person does about the cause of a failure."""
    status = _STATUS.match(error.text)
    if status is not None:
        code = status[1]
        by_class = {"3": _REDIRECT, "5": _SERVER_ERROR}
        return _ADVICE_BY_STATUS.get(code) or by_class.get(code[0], _REFUSED)
    for part, advice in _ADVICE_BY_TEXT.items():
        if part in error.text:
            return advice
    return _OTHER if error.code is None else _ADVICE_BY_CODE[error.code]


def _affected(record: Record) -> str:
    waiting = max(0, record.count - record.cursor)
    if not waiting:
        return "No event waits."
    first, last = record.cursor + 1, record.count
    numbers = f"number {first}" if waiting == 1 else f"numbers {first} to {last}"
    return f"{count_of(waiting, 'event')} {are(waiting)} not delivered: {numbers}."


def _advice(record: Record) -> str:
    advice = "" if record.error is None else advice_for(record.error)
    if record.subscription.status in {SubscriptionStatus.ERROR, SubscriptionStatus.OFF}:
        return f"{advice} Then activate it.".strip() if advice and "activate" not in advice else advice
    return advice
