"""Decides what happens to a notification after one attempt. Pure: no clock, no I/O; the engine commits the
decision.

- A transient failure is retried with growing, jittered delays until the retry budget, counted from the
  first failure of the notification, is used up (R-305, R-307). Delays stay short for ten minutes, so that a
  receiver that was restarted is served soon. A Retry-After may lengthen a delay, never beyond the longest
  delay of the policy: a receiver's mistake must not silence an alarm for a day.
- A permanent refusal gets a few attempts, for the endpoint that is just being set up.
- A handshake that the receiver answers with a failure sets the subscription to `error` at once (R-152). One
  that reaches nobody is retried for a grace, since receivers often register before they listen (141).
- A notification that cannot be built is not the receiver's fault: it is retried a few times within seconds,
  then the events that cannot be rendered become dead letters (decision 041).
- Where a receiver decides about each event, those that it refused become dead letters at once, and what it
  did not decide about is the next notification, with a retry budget of its own.
"""

import math
from dataclasses import dataclass
from typing import assert_never

from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import (
    Advance,
    AdvanceTo,
    Decision,
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    MarkError,
    MoveToDeadLetters,
    PartlyDelivered,
    Refused,
    Retry,
    TurnOff,
    Unreachable,
    Unrenderable,
)

HANDSHAKE_DELAY_MS = 2_000
"""The longest delay between two attempts of a handshake: a client waits for its subscription."""

SHORT_DELAY_MS = 15_000
"""The longest delay while a notification has failed for less than `SHORT_DELAYS_MS`."""
SHORT_DELAYS_MS = 600_000
GROWTH = 4
"""After that the longest delay grows by a quarter of the time that passes."""

BUILD_ATTEMPTS = 5
BUILD_DELAY_MS = 250
"""The longest delay after the first failed build; it doubles with each further one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long to retry. `budget_ms` counts from the first failed attempt of a
    notification, `handshake_grace_ms` from that of a handshake.
    """

    base_ms: int
    max_ms: int
    budget_ms: int
    handshake_grace_ms: int
    max_permanent_refusals: int = 3

    def delay_ms(self, attempt: int, failing_ms: int, jitter: float) -> int:
        """The delay after failed attempt number `attempt` (from 1) of a notification that has been failing
        for `failing_ms`; `jitter` in 0..1 picks from its upper half.
        """
        longest_ms = max(self.base_ms, SHORT_DELAY_MS + max(0, failing_ms - SHORT_DELAYS_MS) // GROWTH)
        ceiling = min(self.max_ms, longest_ms, self.base_ms << min(max(attempt, 1) - 1, 48))
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
    if isinstance(outcome, Delivered | PartlyDelivered):
        return _advance(outcome, policy, jitter)
    delay_ms = policy.delay_ms(attempt, now_ms - first_failure_ms, jitter)
    if is_handshake:
        grace_left_ms = first_failure_ms + policy.handshake_grace_ms - now_ms
        return _after_handshake(outcome, min(delay_ms, HANDSHAKE_DELAY_MS), grace_left_ms)
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


def _advance(outcome: Delivered | PartlyDelivered, policy: RetryPolicy, jitter: float) -> Decision:
    """After a failure, what the receiver did not decide about waits as after a first failed attempt."""
    if isinstance(outcome, Delivered):
        return Advance()
    failure = outcome.failure
    delay_ms = 0 if failure is None else policy.delay_ms(1, 0, jitter)
    if isinstance(failure, Refused):
        delay_ms = max(delay_ms, policy.requested_ms(failure.retry_after_s))
    return AdvanceTo(outcome.last, outcome.delivered, outcome.refused, outcome.error, delay_ms)


def _after_handshake(
    outcome: Refused | Unreachable | EndpointGone | Unrenderable, delay_ms: int, grace_left_ms: int
) -> Decision:
    """An address that may not be notified has no error code: it is never retried."""
    match outcome:
        case Unreachable(error=ErrorReport(code=DeliveryError.DNS | DeliveryError.NO_RESPONSE)):
            reached_nobody = True
        case Refused(is_unavailable=reached_nobody):
            pass
        case _:
            reached_nobody = False
    if reached_nobody and delay_ms <= grace_left_ms:
        return Retry(delay_ms, outcome.error)
    return MarkError(outcome.error)
