"""The delivery policy: the decision after each outcome, and properties of the retry delays."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.policy import (
    BUILD_ATTEMPTS,
    BUILD_DELAY_MS,
    HANDSHAKE_DELAY_MS,
    RetryPolicy,
    decide,
)
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
    UndeliverableEvent,
    Unreachable,
    Unrenderable,
)

ERROR = ErrorReport(DeliveryError.ERROR_RESPONSE, "the endpoint answered 503")
POLICY = RetryPolicy(base_ms=1_000, max_ms=3_600_000, budget_ms=72 * 3_600_000, handshake_grace_ms=30_000)
START_MS = 1_700_000_000_000

policies = st.builds(
    RetryPolicy,
    base_ms=st.integers(1, 10_000),
    max_ms=st.integers(10_000, 10_000_000),
    budget_ms=st.integers(0, 500_000_000),
    handshake_grace_ms=st.integers(0, 100_000),
)
attempts = st.integers(1, 100_000)
jitters = st.floats(0, 1)
waits = st.none() | st.floats(0, 1e9)


def decision_on(
    outcome: DeliveryOutcome,
    *,
    attempt: int = 1,
    since_ms: int = 0,
    policy: RetryPolicy = POLICY,
    jitter: float = 1.0,
    is_handshake: bool = False,
    build_failures: int = 1,
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
        build_failures=build_failures,
        has_events=has_events,
    )


def transient(retry_after_s: float | None = None) -> Refused:
    return Refused(is_transient=True, error=ERROR, retry_after_s=retry_after_s)


PERMANENT = Refused(is_transient=False, error=ERROR)


@pytest.mark.parametrize("is_handshake", [True, False])
def test_a_delivered_notification_advances(is_handshake: bool) -> None:
    assert decision_on(Delivered("204 No Content"), is_handshake=is_handshake) == Advance()


def test_an_endpoint_that_is_gone_turns_the_subscription_off() -> None:
    assert decision_on(EndpointGone(ERROR)) == TurnOff(ERROR)


NOT_THERE = [
    Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, "no connection: Connection refused")),
    Unreachable(ErrorReport(DeliveryError.DNS, "nowhere.example can't be resolved")),
    Refused(is_transient=True, error=ERROR, is_unavailable=True),
]


@pytest.mark.parametrize(
    "outcome",
    [transient(), transient(5), PERMANENT, Unreachable(ErrorReport(None, "refused")), EndpointGone(ERROR)],
)
def test_a_handshake_that_is_answered_with_a_failure_sets_error_at_once(outcome: DeliveryOutcome) -> None:
    assert isinstance(outcome, Refused | Unreachable | EndpointGone)
    assert decision_on(outcome, is_handshake=True) == MarkError(outcome.error)


@pytest.mark.parametrize("outcome", NOT_THERE)
def test_a_handshake_that_reaches_nobody_is_retried_until_its_grace_ends(outcome: DeliveryOutcome) -> None:
    assert isinstance(outcome, Refused | Unreachable)
    error, grace = outcome.error, POLICY.handshake_grace_ms
    decisions = [decision_on(outcome, attempt=attempt, is_handshake=True) for attempt in (1, 2, 3, 99)]
    assert decisions == [Retry(ms, error) for ms in (1_000, 2_000, 2_000, HANDSHAKE_DELAY_MS)]
    assert decision_on(outcome, since_ms=grace - 1_000, is_handshake=True) == Retry(1_000, error)
    assert decision_on(outcome, since_ms=grace - 999, is_handshake=True) == MarkError(error)


@pytest.mark.parametrize("outcome", NOT_THERE)
def test_without_a_grace_a_handshake_gets_one_attempt(outcome: DeliveryOutcome) -> None:
    policy = replace(POLICY, handshake_grace_ms=0)
    assert isinstance(decision_on(outcome, policy=policy, is_handshake=True), MarkError)


def test_retry_delays_double_up_to_the_maximum() -> None:
    decisions = [
        decision_on(Unreachable(ERROR), attempt=attempt, since_ms=40_000_000)
        for attempt in (1, 2, 3, 12, 13, 9_999)
    ]
    assert decisions == [Retry(ms, ERROR) for ms in (1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000)]


def test_a_permanent_refusal_gets_three_attempts() -> None:
    decisions = [decision_on(PERMANENT, attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert decisions == [Retry(1_000, ERROR), Retry(2_000, ERROR), MarkError(ERROR), MarkError(ERROR)]


def test_after_five_failed_builds_the_unrenderable_events_become_dead_letters() -> None:
    unrenderable = Unrenderable(ERROR, (UndeliverableEvent(3, "ValueError"),))
    decisions = [decision_on(unrenderable, attempt=9, build_failures=n) for n in range(1, BUILD_ATTEMPTS + 1)]
    delays = [BUILD_DELAY_MS, 2 * BUILD_DELAY_MS, 4 * BUILD_DELAY_MS, 8 * BUILD_DELAY_MS]
    assert decisions[:4] == [Retry(ms, ERROR, is_build_failure=True) for ms in delays]
    assert decisions[4] == MoveToDeadLetters((UndeliverableEvent(3, "ValueError"),), ERROR)


def test_a_heartbeat_that_cannot_be_built_is_retried_until_the_budget_ends() -> None:
    assert decision_on(Unrenderable(ERROR), build_failures=BUILD_ATTEMPTS, has_events=False) == Retry(
        1_000, ERROR
    )
    late = decision_on(Unrenderable(ERROR), build_failures=9, has_events=False, since_ms=POLICY.budget_ms)
    assert late == MarkError(ERROR)
    assert decision_on(Unrenderable(ERROR), is_handshake=True) == MarkError(ERROR)


def test_the_retry_budget_ends_the_attempts() -> None:
    budget = POLICY.budget_ms
    assert decision_on(Unreachable(ERROR), since_ms=budget - 1_000) == Retry(1_000, ERROR)
    assert decision_on(Unreachable(ERROR), since_ms=budget - 999) == MarkError(ERROR)


def test_retry_after_is_honoured_up_to_the_longest_delay() -> None:
    within_s = POLICY.max_ms // 2_000
    assert decision_on(transient(within_s)) == Retry(within_s * 1000, ERROR)
    assert decision_on(transient(1e8)) == Retry(POLICY.max_ms, ERROR)


@given(policies, attempts, jitters)
def test_a_delay_lies_in_the_upper_half_of_its_ceiling(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    ceiling = min(policy.max_ms, policy.base_ms * 2 ** min(attempt - 1, 60), 15_000)
    assert ceiling / 2 <= policy.delay_ms(attempt, 600_000, jitter) <= ceiling


@given(policies, attempts, st.integers(0, 600_000_000), jitters)
def test_delays_never_shrink_from_attempt_to_attempt(
    policy: RetryPolicy, attempt: int, failing_ms: int, jitter: float
) -> None:
    delay_ms = policy.delay_ms(attempt, failing_ms, jitter)
    assert delay_ms <= policy.delay_ms(attempt + 1, failing_ms + delay_ms, jitter)


@pytest.mark.parametrize(
    ("failing_ms", "longest_ms"),
    [(0, 15_000), (600_000, 15_000), (640_000, 25_000), (3_600_000, 765_000), (40_000_000, 3_600_000)],
)
def test_delays_are_short_for_ten_minutes_and_then_grow_with_the_outage(
    failing_ms: int, longest_ms: int
) -> None:
    assert POLICY.delay_ms(1_000, failing_ms, 1.0) == longest_ms
    assert POLICY.delay_ms(1_000, failing_ms, 0.0) == longest_ms // 2


def test_a_base_above_the_short_delay_is_the_shortest_delay() -> None:
    policy = RetryPolicy(base_ms=60_000, max_ms=3_600_000, budget_ms=1, handshake_grace_ms=0)
    assert policy.delay_ms(5, 0, 1.0) == 60_000


@given(policies, attempts, jitters, waits, st.integers(0, 600_000_000))
def test_a_delay_honours_retry_after_and_stays_within_the_budget(
    policy: RetryPolicy, attempt: int, jitter: float, retry_after_s: float | None, since_ms: int
) -> None:
    decision = decision_on(
        transient(retry_after_s), attempt=attempt, since_ms=since_ms, policy=policy, jitter=jitter
    )
    retry_after_ms = min((retry_after_s or 0) * 1000, policy.max_ms)
    match decision:
        case Retry(delay_ms=delay_ms):
            assert retry_after_ms <= delay_ms <= policy.max_ms
            assert since_ms + delay_ms <= policy.budget_ms
        case MarkError():
            next_ms = max(policy.delay_ms(attempt, since_ms, jitter), retry_after_ms)
            assert since_ms + next_ms > policy.budget_ms - 1
        case other:
            pytest.fail(f"a transient failure led to {other}")


@given(policies, attempts, waits, st.integers(0, 600_000_000), st.integers(1, 600_000_000))
def test_a_budget_that_is_used_up_stays_used_up(
    policy: RetryPolicy, attempt: int, retry_after_s: float | None, since_ms: int, later_ms: int
) -> None:
    def at(ms: int) -> Decision:
        return decision_on(transient(retry_after_s), attempt=attempt, since_ms=ms, policy=policy)

    if isinstance(at(since_ms), MarkError):
        assert isinstance(at(since_ms + later_ms), MarkError)


def test_what_the_receiver_decided_about_is_done_and_the_rest_is_sent_at_once() -> None:
    refused = (UndeliverableEvent(2, "422"),)
    outcome = PartlyDelivered(last=4, delivered=3, refused=refused, error=ERROR)
    assert decision_on(outcome, attempt=9) == AdvanceTo(4, 3, refused, ERROR)


@given(waits)
def test_after_a_failure_the_rest_waits_at_least_as_long_as_asked_for(wait_s: float | None) -> None:
    failure = Refused(is_transient=True, error=ERROR, retry_after_s=wait_s)
    decision = decision_on(PartlyDelivered(4, 4, (), ERROR, failure), attempt=9)
    assert isinstance(decision, AdvanceTo)
    assert decision.delay_ms == max(1_000, POLICY.requested_ms(wait_s))
    assert decision.delay_ms <= POLICY.max_ms
