"""What counts as a lag of the broker, and what is the subscriber's."""

import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.telemetry.lag import DispatcherLag, MatcherLag


class Timer:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Timer:
    return Timer()


def key(name: str) -> SubscriptionKey:
    return DEFAULT_TENANT, SubscriptionId(name)


def test_the_lag_of_the_matcher_is_the_age_of_its_oldest_change_and_grows_while_it_works(
    timer: Timer,
) -> None:
    lag = MatcherLag(timer)
    assert lag.seconds() == 0
    lag.started(0.2)
    timer.now += 0.3
    assert lag.seconds() == pytest.approx(0.5)
    lag.ended()
    assert lag.seconds() == pytest.approx(0.5)
    timer.now += 1.0
    assert lag.seconds() == 0, "nobody measured again, so there is no work"


def test_a_batch_from_the_future_of_a_clock_that_was_set_back_is_no_lag(timer: Timer) -> None:
    lag = MatcherLag(timer)
    lag.started(-3600)
    assert lag.seconds() == 0


def attempt(
    lag: DispatcherLag,
    timer: Timer,
    name: str,
    age_s: float,
    *,
    sending_s: float = 0.001,
    is_retry: bool = False,
    is_delivered: bool = True,
    is_last: bool = False,
) -> None:
    """One attempt, for which the broker itself needs 10 ms."""
    lag.started(key(name), age_s, is_retry=is_retry)
    timer.now += sending_s + 0.01
    lag.sent(key(name), sending_s, is_delivered=is_delivered)
    if is_last:
        lag.ended(key(name))


def settle(lag: DispatcherLag, timer: Timer) -> float:
    timer.now += DispatcherLag.WINDOW_S
    return lag.seconds()


def test_the_lag_of_the_dispatcher_is_the_median_age_over_subscriptions(timer: Timer) -> None:
    lag = DispatcherLag(timer)
    for name, age_s in (("a", 0.1), ("b", 0.2), ("c", 5.0)):
        attempt(lag, timer, name, age_s, is_last=True)
    assert settle(lag, timer) == pytest.approx(0.2)
    timer.now += 1.0
    assert lag.seconds() == 0


def test_one_subscription_with_many_events_counts_once(timer: Timer) -> None:
    lag = DispatcherLag(timer)
    attempt(lag, timer, "other", 0.01)
    attempt(lag, timer, "another", 0.01)
    for _ in range(5):
        attempt(lag, timer, "hot", 9.0, sending_s=0.0)
    assert settle(lag, timer) == pytest.approx(0.01)


def test_a_receiver_that_takes_more_of_the_time_than_the_broker_is_no_lag(timer: Timer) -> None:
    lag = DispatcherLag(timer)
    attempt(lag, timer, "slow", 0.01, sending_s=1.0)
    for _ in range(5):
        attempt(lag, timer, "slow", 5.0, sending_s=1.0)
    assert settle(lag, timer) <= 0.01


@pytest.mark.parametrize("first", ["a retry", "an old event"])
def test_what_waits_after_a_failure_or_an_interruption_is_no_lag(timer: Timer, first: str) -> None:
    lag = DispatcherLag(timer)
    attempt(lag, timer, "back", 3.0 if first == "a retry" else 60.0, is_retry=first == "a retry")
    for _ in range(5):
        attempt(lag, timer, "back", 3.0)
    assert settle(lag, timer) == 0
    lag.ended(key("back"))
    attempt(lag, timer, "back", 0.3)
    assert settle(lag, timer) == pytest.approx(0.3), "it has caught up"


def test_what_waits_behind_a_refused_notification_is_no_lag(timer: Timer) -> None:
    lag = DispatcherLag(timer)
    attempt(lag, timer, "a", 0.0, is_delivered=False)
    attempt(lag, timer, "a", 3.0)
    assert settle(lag, timer) == 0
