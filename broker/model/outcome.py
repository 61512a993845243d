"""The result of one delivery attempt, and what is decided about the notification after it.

Channels return a `DeliveryOutcome`, `broker/delivery/policy.py` maps it to a `Decision`, and the store
commits the decision. No value here depends on a protocol: an HTTP endpoint, a mail relay, a message
broker or a file can stand behind a channel. Expected results are values, not exceptions.
"""

from dataclasses import dataclass

from broker.model.notification import ErrorReport


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted the notification (R-304). `detail` is its answer in words, for logs."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver answered and did not accept the notification.

    `is_transient`: the same notification may be accepted later (R-305). `retry_after_s` is the wait the
    receiver asked for, if it asked for one (R-307). `is_unavailable`: what answered says that the receiver
    does not serve requests at the moment, as a gateway does whose application is still starting.
    """

    is_transient: bool
    error: ErrorReport
    retry_after_s: float | None = None
    is_unavailable: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer: the receiver could not be reached, did not answer in time, or may not be contacted."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """The receiver says that it will never accept a notification again."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class UndeliverableEvent:
    """An event that becomes a dead letter, because it cannot be rendered or its receiver refuses it, and
    why. `explanation` is what the receiver sent about it, an OperationOutcome; it may be about a person, the
    `reason` is not.
    """

    number: int
    reason: str
    explanation: bytes = b""


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """The notification could not be built, so nothing was sent.

    `events` are those that cannot be rendered alone either; they are determined in the last build attempt
    only.
    """

    error: ErrorReport
    events: tuple[UndeliverableEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class PartlyDelivered:
    """The receiver decided about the events up to number `last`: it accepted `delivered` of them and refused
    the others. `failure` is why it did not decide about those behind `last`; None if there are none.
    """

    last: int
    delivered: int
    refused: tuple[UndeliverableEvent, ...]
    error: ErrorReport
    failure: Refused | Unreachable | None = None


DeliveryOutcome = Delivered | Refused | Unreachable | EndpointGone | Unrenderable | PartlyDelivered


@dataclass(frozen=True, slots=True)
class Advance:
    """The notification is done: the cursor moves behind its last event."""


@dataclass(frozen=True, slots=True)
class AdvanceTo:
    """The cursor moves behind the event `last`; `dead_letters` up to it become dead letters, `delivered`
    events were accepted. The rest is sent after `delay_ms`, as a notification of its own.
    """

    last: int
    delivered: int
    dead_letters: tuple[UndeliverableEvent, ...]
    error: ErrorReport
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the identical notification again after `delay_ms`; the subscription keeps its status.

    `is_build_failure`: the notification could not be built. The store counts these apart from failed sends.
    """

    delay_ms: int
    error: ErrorReport
    is_build_failure: bool = False


@dataclass(frozen=True, slots=True)
class MarkError:
    """Stop retrying: the subscription goes to `error`, its events stay in the outbox."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class TurnOff:
    """Stop for good: the subscription goes to `off`."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Defer:
    """Nothing was attempted because a limit of the receiver is reached: of attempts under way, or of
    handshakes in a time. Claim it again after `delay_ms`.
    """

    delay_ms: int


@dataclass(frozen=True, slots=True)
class MoveToDeadLetters:
    """These events become dead letters and the rest of the notification is sent; the subscription keeps its
    status.

    Without events, each event can be rendered alone and only the whole notification cannot: the first is sent
    alone.
    """

    events: tuple[UndeliverableEvent, ...]
    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Withhold:
    """Nothing was attempted: the owner of the subscription may not see these events, which are given up. The
    rest of the notification is sent.
    """

    events: tuple[int, ...]


Decision = Advance | AdvanceTo | Retry | MarkError | TurnOff | Defer | MoveToDeadLetters | Withhold
