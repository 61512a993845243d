"""What one delivery attempt came to, and what is decided about it. Expected results are values, not exceptions."""

from dataclasses import dataclass

from broker.model.notification import ErrorReport


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint answered 2xx (R-304)."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint answered something else. `is_curable` tells whether repeating may help (408, 425, 429, 5xx; R-305)."""

    status: int
    is_curable: bool
    error: ErrorReport
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer: DNS, refused connection, reset, TLS, time-out, or an address that may not be notified."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Gone:
    """The endpoint answered 410: it wants nothing more."""

    error: ErrorReport


Outcome = Delivered | Refused | Unreachable | Gone


@dataclass(frozen=True, slots=True)
class Advance:
    """The notification is done: move the cursor."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Send the identical notification again after `delay_ms`; the subscription keeps its status."""

    delay_ms: int
    error: ErrorReport


@dataclass(frozen=True, slots=True)
class MarkError:
    """Give up for now: status `error`; events stay in the outbox."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class TurnOff:
    """Stop for good: status `off`."""

    error: ErrorReport


@dataclass(frozen=True, slots=True)
class Defer:
    """Nothing was attempted: too much is under way to that endpoint's origin. Look again after `delay_ms`."""

    delay_ms: int


Decision = Advance | TryAgain | MarkError | TurnOff | Defer
