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


@dataclass(frozen=True, slots=True)
class Broken:
    """An event that can't be rendered, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """The notification could not be built: nothing was sent. `broken` are its events that can't be rendered alone either; they are
    looked for at the last try only.
    """

    error: ErrorReport
    broken: tuple[Broken, ...] = ()


Outcome = Delivered | Refused | Unreachable | Gone | Unrenderable


@dataclass(frozen=True, slots=True)
class Advance:
    """The notification is done: move the cursor."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Send the identical notification again after `delay_ms`; the subscription keeps its status.

    `is_unbuilt`: it could not be built, which is counted apart from what endpoints answer.
    """

    delay_ms: int
    error: ErrorReport
    is_unbuilt: bool = False


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


@dataclass(frozen=True, slots=True)
class SetAside:
    """The broken events become dead letters, what is left of the notification goes on; the subscription keeps its status.

    Without any, each can be rendered alone and only all together can't: they are sent one by one.
    """

    broken: tuple[Broken, ...]
    error: ErrorReport


Decision = Advance | TryAgain | MarkError | TurnOff | Defer | SetAside
