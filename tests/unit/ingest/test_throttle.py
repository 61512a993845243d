"""How the lags of the workers set the rate of accepted changes."""

import math
from datetime import timedelta
from typing import cast

import pytest

from broker.errors import Overloaded
from broker.ingest.throttle import MIN_UNDER_WAY, Throttle
from broker.store.lag_board import LagBoard

TARGET = timedelta(milliseconds=50)
DELIVERED_PER_S = 10_000


class Situation:
    """A throttle that has committed `per_s` changes a second for some seconds, and the lag that it sees."""

    def __init__(
        self, per_s: int = DELIVERED_PER_S, *, target: timedelta = TARGET, max_delay_s: float = 0
    ) -> None:
        self.now, self.lag_s = 0.0, 0.0
        self.throttle = Throttle(
            target,
            timedelta(seconds=max_delay_s),
            [lambda: self.lag_s],
            cast("LagBoard", None),
            lambda: self.now,
        )
        self.commit(per_s, seconds=20)

    def commit(self, per_s: float, *, seconds: float) -> None:
        for _ in range(int(seconds * 50)):
            self.now += 0.02
            self.throttle.committed(round(per_s / 50))


@pytest.mark.parametrize("share", [0, 0.3, 0.5])
def test_a_lag_far_below_the_target_slows_nothing_down(share: float) -> None:
    situation = Situation()
    situation.lag_s = TARGET.total_seconds() * share
    assert situation.throttle.rate() == math.inf
    assert situation.throttle.batch_size(512) == 512


def test_the_rate_falls_in_proportion_to_the_lag() -> None:
    situation = Situation()
    for share in (1, 2, 4):
        situation.lag_s = TARGET.total_seconds() * share
        assert situation.throttle.rate() == pytest.approx(DELIVERED_PER_S / share, rel=0.1)
        assert situation.throttle.batch_size(512) <= max(64, DELIVERED_PER_S / share / 45)


def test_a_long_lag_leaves_a_tenth_of_the_rate() -> None:
    situation = Situation()
    situation.lag_s = 60
    assert situation.throttle.rate() == pytest.approx(DELIVERED_PER_S / 10, rel=0.1)


def test_few_changes_under_way_are_no_overload() -> None:
    """A machine that takes long for everything would otherwise slow down until nothing is left to do."""
    situation = Situation(per_s=200)
    situation.lag_s = MIN_UNDER_WAY / 200 / 3
    assert situation.throttle.rate() == math.inf
    situation.lag_s = MIN_UNDER_WAY / 200 * 2
    assert situation.throttle.rate() == pytest.approx(100, rel=0.1)


def test_rate_and_lag_settle_at_the_capacity() -> None:
    """Producers want twice of what is delivered: the queue stays near the target, the rate at capacity."""
    situation = Situation(per_s=2 * DELIVERED_PER_S)
    queue, admitted, lags = 0.0, 0.0, []
    for _ in range(1_000):
        rate = min(2.0 * DELIVERED_PER_S, situation.throttle.rate())
        changes = round(rate * 0.02)
        situation.now += 0.02
        situation.throttle.committed(changes)
        queue = max(0.0, queue + changes - DELIVERED_PER_S * 0.02)
        situation.lag_s = queue / DELIVERED_PER_S
        admitted += changes
        lags.append(situation.lag_s)
    assert admitted / 20 == pytest.approx(DELIVERED_PER_S, rel=0.03)
    settled = lags[len(lags) // 2 :]
    assert max(settled) <= 2 * TARGET.total_seconds()
    assert min(settled) > 0, "the workers are never idle"


def test_a_target_of_zero_switches_the_throttle_off() -> None:
    situation = Situation(target=timedelta())
    situation.lag_s = 60
    assert situation.throttle.rate() == math.inf
    situation.throttle.refuse_late(1_000_000)


def test_what_would_wait_longer_than_the_longest_delay_is_refused_with_a_time_to_come_back() -> None:
    situation = Situation(max_delay_s=2)
    situation.lag_s = 2 * TARGET.total_seconds()
    situation.throttle.refuse_late(DELIVERED_PER_S // 2)
    with pytest.raises(Overloaded) as refused:
        situation.throttle.refuse_late(DELIVERED_PER_S * 3 // 2)
    assert refused.value.retry_after_s >= 2
    situation.lag_s = 0
    situation.throttle.refuse_late(1_000_000)
