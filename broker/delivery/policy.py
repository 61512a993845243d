"""Decides what happens to a notification after one attempt. Pure: no clock, no I/O; the engine commits the
decision.

- A transient failure is retried with growing, jittered delays until the retry budget, counted from the
  first failure of the notification, is used up (R-305, R-307). A Retry-After may lengthen a delay, never
  beyond the longest delay of the policy: a receiver's mistake must not silence an alarm for a day.
- A permanent refusal gets a few attempts, for the endpoint that is just being set up.
- A handshake gets one attempt: any failure sets the subscription to `error` (R-152).
- A notification that cannot be built is not the receiver's fault: it is retried a few times within seconds,
  then the events that cannot be rendered become dead letters (decision 041).
"""

import math
from dataclasses import dataclass
from typing import assert_never

from broker.model.outcome import (
    Advance,
    Decision,
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    MarkError,
    MoveToDeadLetters,
    Refused,
    Retry,
    TurnOff,
    Unreachable,
    Unrenderable,
)

BUILD_ATTEMPTS = 5
BUILD_DELAY_MS = 250
"""The longest delay after the first failed build; it doubles with each further one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long to retry. `budget_ms` counts from the first failed attempt of a
    notification.
    """

    base_ms: int
    max_ms: int
    budget_ms: int
    max_permanent_refusals: int = 3

    def delay_ms(self, attempt: int, jitter: float) -> int:
        """The delay after failed attempt number `attempt` (from 1); `jitter` in 0..1 picks from its upper
        half.
        """
        ceiling = min(self.max_ms, self.base_ms << min(max(attempt, 1) - 1, 48))
        return math.ceil(ceiling * (0.5 + jitter / 2))

    def requested_ms(self, retry_after_s: float | None) -> int:
        """The delay that a receiver asks for, at most `max_ms`; 0 if it asks for none."""
        return 0 if retry_after_s is None else min(math.ceil(retry_after_s * 1000), self.max_ms)


def decide(
    outcome: DeliveryOutcome,
    *,
    attempt: int,
    first_failure_ms: int,
    now_ms: int,
    policy: RetryPolicy,
    jitter: float,
    is_handshake: bool,
    build_failures: int = 1,
    has_events: bool = True,
) -> Decision:
    """The decision after attempt number `attempt` (from 1), which ended at `now_ms`.

    `build_failures` counts the attempts that could not be built, this one included. A handshake that meets
    `EndpointGone` sets `error` like any other failed handshake: R-152 makes no exception.
    """
    if isinstance(outcome, Delivered):
        return Advance()
    if is_handshake:
        return MarkError(outcome.error)
    delay_ms = policy.delay_ms(attempt, jitter)
    is_final = False
    match outcome:
        case EndpointGone(error=error):
            return TurnOff(error)
        case Refused(is_transient=is_transient, error=error, retry_after_s=retry_after_s):
            delay_ms = max(delay_ms, policy.requested_ms(retry_after_s))
            is_final = not is_transient and attempt >= policy.max_permanent_refusals
        case Unrenderable(error=error, events=events):
            if has_events and build_failures >= BUILD_ATTEMPTS:
                return MoveToDeadLetters(events, error)
            if has_events:
                build_delay_ms = BUILD_DELAY_MS << build_failures - 1
                return Retry(min(delay_ms, build_delay_ms), error, is_build_failure=True)
        case Unreachable(error=error):
            pass
        case _:
            assert_never(outcome)
    if is_final or now_ms + delay_ms > first_failure_ms + policy.budget_ms:
        return MarkError(error)
    return Retry(delay_ms, error)
