"""The delivery policy: decisions, and the laws of the waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.policy import BUILD_TRIES, BUILD_WAIT_MS, RETRY_AFTER_CAP_MS, RetryPolicy, decide
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import (
    Advance,
    Broken,
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

ERROR = ErrorReport(DeliveryError.ERROR_RESPONSE, "the endpoint answered so")
POLICY = RetryPolicy(base_ms=1_000, max_ms=3_600_000, budget_ms=72 * 3_600_000)
START_MS = 1_700_000_000_000

policies = st.builds(
    RetryPolicy,
    base_ms=st.integers(1, 10_000),
    max_ms=st.integers(10_000, 10_000_000),
    budget_ms=st.integers(0, 500_000_000),
)
attempts = st.integers(1, 100_000)
jitters = st.floats(0, 1)
waits = st.none() | st.floats(0, 1e9)


def decided(
    outcome: Outcome,
    *,
    attempt: int = 1,
    since_ms: int = 0,
    policy: RetryPolicy = POLICY,
    jitter: float = 1.0,
    is_handshake: bool = False,
    unbuilt: int = 1,
    has_events: bool = True,
) -> Decision:
    return decide(
        outcome,
        attempt=attempt,
        first_failure_ms=START_MS,
        now_ms=START_MS + since_ms,
        policy=policy,
        jitter=jitter,
        is_handshake=is_handshake,
        unbuilt=unbuilt,
        has_events=has_events,
    )


def curable(retry_after_s: float | None = None) -> Refused:
    return Refused(503, is_curable=True, error=ERROR, retry_after_s=retry_after_s)


INCURABLE = Refused(404, is_curable=False, error=ERROR)


@pytest.mark.parametrize("is_handshake", [True, False])
def test_a_delivered_notification_advances(is_handshake: bool) -> None:
    assert decided(Delivered(204), is_handshake=is_handshake) == Advance()


def test_gone_turns_the_subscription_off() -> None:
    assert decided(Gone(ERROR)) == TurnOff(ERROR)


@pytest.mark.parametrize("outcome", [curable(), curable(5), INCURABLE, Unreachable(ERROR), Gone(ERROR)])
def test_any_failure_of_a_handshake_marks_an_error_at_once(outcome: Outcome) -> None:
    assert decided(outcome, is_handshake=True) == MarkError(ERROR)


def test_waits_double_up_to_the_longest() -> None:
    found = [decided(Unreachable(ERROR), attempt=attempt) for attempt in (1, 2, 3, 12, 13, 9_999)]
    assert found == [TryAgain(ms, ERROR) for ms in (1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000)]


def test_a_refusal_that_repeating_can_not_cure_gets_a_few_attempts() -> None:
    found = [decided(INCURABLE, attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert found == [TryAgain(1_000, ERROR), TryAgain(2_000, ERROR), MarkError(ERROR), MarkError(ERROR)]


def test_what_can_not_be_built_is_tried_five_times_in_short_order_and_then_set_aside() -> None:
    unrenderable = Unrenderable(ERROR, (Broken(3, "ValueError"),))
    found = [decided(unrenderable, attempt=9, unbuilt=n) for n in range(1, BUILD_TRIES + 1)]
    waits = [BUILD_WAIT_MS, 2 * BUILD_WAIT_MS, 4 * BUILD_WAIT_MS, 8 * BUILD_WAIT_MS]
    assert found[:4] == [TryAgain(ms, ERROR, is_unbuilt=True) for ms in waits]
    assert found[4] == SetAside((Broken(3, "ValueError"),), ERROR)


def test_a_heartbeat_that_can_not_be_built_has_nothing_to_set_aside() -> None:
    assert decided(Unrenderable(ERROR), unbuilt=BUILD_TRIES, has_events=False) == TryAgain(1_000, ERROR)
    late = decided(Unrenderable(ERROR), unbuilt=9, has_events=False, since_ms=POLICY.budget_ms)
    assert late == MarkError(ERROR)
    assert decided(Unrenderable(ERROR), is_handshake=True) == MarkError(ERROR)


def test_the_budget_ends_the_attempts() -> None:
    budget = POLICY.budget_ms
    assert decided(Unreachable(ERROR), since_ms=budget - 1_000) == TryAgain(1_000, ERROR)
    assert decided(Unreachable(ERROR), since_ms=budget - 999) == MarkError(ERROR)


def test_a_wait_asked_for_is_kept_but_no_longer_than_a_day() -> None:
    assert decided(curable(120)) == TryAgain(120_000, ERROR)
    assert decided(curable(1e8)) == TryAgain(RETRY_AFTER_CAP_MS, ERROR)


@given(policies, attempts, jitters)
def test_a_wait_lies_in_the_upper_half_of_its_ceiling(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    ceiling = min(policy.max_ms, policy.base_ms * 2 ** min(attempt - 1, 60))
    assert ceiling / 2 <= policy.delay_ms(attempt, jitter) <= ceiling


@given(policies, attempts, jitters)
def test_waits_never_shrink_from_attempt_to_attempt(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    assert policy.delay_ms(attempt, jitter) <= policy.delay_ms(attempt + 1, jitter)


@given(policies, attempts, jitters, waits, st.integers(0, 600_000_000))
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_both_and_never_passes_the_budget(
    policy: RetryPolicy, attempt: int, jitter: float, asked_s: float | None, since_ms: int
) -> None:
    decision = decided(curable(asked_s), attempt=attempt, since_ms=since_ms, policy=policy, jitter=jitter)
    asked_ms = min((asked_s or 0) * 1000, RETRY_AFTER_CAP_MS)
    match decision:
        case TryAgain(delay_ms=delay_ms):
            assert asked_ms <= delay_ms <= policy.max_ms + asked_ms + 1
            assert since_ms + delay_ms <= policy.budget_ms
        case MarkError():
            wait_ms = max(policy.delay_ms(attempt, jitter), asked_ms)
            assert since_ms + wait_ms > policy.budget_ms - 1
        case other:
            pytest.fail(f"a curable failure led to {other}")


@given(policies, attempts, waits, st.integers(0, 600_000_000), st.integers(1, 600_000_000))
def test_once_over_a_budget_stays_over(
    policy: RetryPolicy, attempt: int, asked_s: float | None, since_ms: int, later_ms: int
) -> None:
    def at(ms: int) -> Decision:
        return decided(curable(asked_s), attempt=attempt, since_ms=ms, policy=policy)

    if isinstance(at(since_ms), MarkError):
        assert isinstance(at(since_ms + later_ms), MarkError)
