"""What is decided about a notification after one attempt. Pure: nothing here waits or asks the time; the engine carries it out.

A failure that repeating may cure is tried again with growing, jittered waits until the budget, counted from the first failure, is
used up (R-305, R-307). One that repeating can't cure gets a few attempts, for the endpoint that is just being set up.
A handshake gets one attempt: any failure of it marks the subscription (R-152). A notification that can't be built is no fault of
the endpoint: it is tried a few times in short order, and then without the events that break it (decision 041).
"""

import math
from dataclasses import dataclass
from typing import assert_never

from broker.model.outcome import (
    Advance,
    Decision,
    Delivered,
    Gone,
    MarkError,
    Outcome,
    Refused,
    SetAside,
    TryAgain,
    TurnOff,
    Unreachable,
    Unrenderable,
)

RETRY_AFTER_CAP_MS = 24 * 3_600_000
"""No endpoint can ask for a longer wait than this."""


BUILD_TRIES = 5
BUILD_WAIT_MS = 250
"""At most so long after the first failure to build; twice as long after each further one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. `budget_ms` is counted from the first failed attempt of a notification."""

    base_ms: int
    max_ms: int
    budget_ms: int
    short_budget_attempts: int = 3

    def delay_ms(self, attempt: int, jitter: float) -> int:
        """The wait after failed attempt number `attempt` (from 1); `jitter` in 0..1 picks from its upper half."""
        ceiling = min(self.max_ms, self.base_ms << min(max(attempt, 1) - 1, 48))
        return math.ceil(ceiling * (0.5 + jitter / 2))


def decide(
    outcome: Outcome,
    *,
    attempt: int,
    first_failure_ms: int,
    now_ms: int,
    policy: RetryPolicy,
    jitter: float,
    is_handshake: bool,
    unbuilt: int = 1,
    has_events: bool = True,
) -> Decision:
    """The decision after attempt number `attempt` (from 1), which ended at `now_ms`. `unbuilt` counts the attempts in which the
    notification could not be built, this one included.

    A handshake that meets 410 marks an error like any other failed handshake: R-152 makes no exception.
    """
    if isinstance(outcome, Delivered):
        return Advance()
    if is_handshake:
        return MarkError(outcome.error)
    wait_ms = policy.delay_ms(attempt, jitter)
    match outcome:
        case Gone(error=error):
            return TurnOff(error)
        case Refused(is_curable=is_curable, error=error, retry_after_s=asked_s):
            wait_ms = max(wait_ms, _asked_ms(asked_s))
            is_over = not is_curable and attempt >= policy.short_budget_attempts
        case Unrenderable(error=error, broken=broken):
            if has_events and unbuilt >= BUILD_TRIES:
                return SetAside(broken, error)
            if has_events:
                return TryAgain(min(wait_ms, BUILD_WAIT_MS << unbuilt - 1), error, is_unbuilt=True)
            is_over = False
        case Unreachable(error=error):
            is_over = False
        case _:
            assert_never(outcome)
    if is_over or now_ms + wait_ms > first_failure_ms + policy.budget_ms:
        return MarkError(error)
    return TryAgain(wait_ms, error)


def _asked_ms(retry_after_s: float | None) -> int:
    if retry_after_s is None:
        return 0
    return math.ceil(min(retry_after_s, RETRY_AFTER_CAP_MS / 1000) * 1000)
