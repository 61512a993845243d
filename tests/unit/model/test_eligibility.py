"""Status, activation and staleness: whether a change can be an event of a subscription."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.eligibility import STALE_MS, Activation, Eligibility, eligibility
from broker.model.subscription import SubscriptionStatus

ACTIVATED_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("status", "activated_ms", "counts"),
    [
        (SubscriptionStatus.ACTIVE, ACTIVATED_MS, True),
        (SubscriptionStatus.ERROR, ACTIVATED_MS, True),
        (SubscriptionStatus.ERROR, 0, True),
        (SubscriptionStatus.REQUESTED, 0, False),
        (SubscriptionStatus.REQUESTED, ACTIVATED_MS, True),
        (SubscriptionStatus.OFF, ACTIVATED_MS, False),
        (SubscriptionStatus.ENTERED_IN_ERROR, ACTIVATED_MS, False),
    ],
)
def test_the_status_decides_whether_events_are_counted(
    status: SubscriptionStatus, activated_ms: int, counts: bool
) -> None:
    activation = Activation(status, activated_ms)
    assert activation.counts_events is counts
    is_eligible = eligibility(activation, ACTIVATED_MS) is Eligibility.ELIGIBLE
    assert is_eligible is counts


def test_a_change_accepted_long_before_the_activation_is_not_an_event() -> None:
    activation = Activation(SubscriptionStatus.ACTIVE, ACTIVATED_MS)
    assert eligibility(activation, ACTIVATED_MS - STALE_MS - 1) is Eligibility.BEFORE_ACTIVATION
    assert eligibility(activation, ACTIVATED_MS - STALE_MS) is Eligibility.ELIGIBLE


@given(
    st.sampled_from(SubscriptionStatus), st.integers(0, 10**13), st.integers(0, 10**13), st.integers(0, 10**6)
)
def test_a_later_change_is_never_less_eligible(
    status: SubscriptionStatus, activated_ms: int, accepted_ms: int, later_ms: int
) -> None:
    activation = Activation(status, activated_ms)
    if eligibility(activation, accepted_ms) is Eligibility.ELIGIBLE:
        assert eligibility(activation, accepted_ms + later_ms) is Eligibility.ELIGIBLE
