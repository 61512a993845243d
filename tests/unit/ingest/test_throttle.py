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
        for _ in range(int(seconds * 200)):
            self.now += 0.005
            self.throttle.committed(round(per_s / 200))


@pytest.mark.parametrize("share", [0, 0.3, 0.5])
def test_a_lag_far_below_the_target_slows_nothing_down(share: float) -> None:
    situation = Situation()
    situation.lag_s = TARGET.total_seconds() * share
    assert situation.throttle.room() >= DELIVERED_PER_S * TARGET.total_seconds() * (1 - share) * 0.5


def test_the_changes_of_the_last_lag_are_under_way() -> None:
    situation = Situation()
    limit = situation.throttle.limit()
    assert limit == pytest.approx(DELIVERED_PER_S * TARGET.total_seconds(), rel=0.1)
    for lag_s in (0.02, 0.1, 0.2):
        situation.lag_s = lag_s
        assert limit - situation.throttle.room() == pytest.approx(DELIVERED_PER_S * lag_s, abs=200)


def test_a_batch_is_not_smaller_because_there_is_no_room() -> None:
    situation = Situation()
    situation.lag_s = 2 * TARGET.total_seconds()
    assert situation.throttle.room() < 0
    assert situation.throttle.batch_size(512) == 64


def test_a_long_lag_leaves_a_tenth_of_the_rate() -> None:
    situation = Situation()
    situation.lag_s = 60
    admitted, seconds = 0, 20.0
    for _ in range(int(seconds / 0.01)):
        situation.now += 0.01
        if situation.throttle.room() >= 64:
            admitted += 64
            situation.throttle.committed(64)
    assert DELIVERED_PER_S * 0.05 <= admitted / seconds <= DELIVERED_PER_S * 0.2


def test_few_changes_under_way_are_no_overload() -> None:
    """A machine that takes long for everything would otherwise slow down until nothing is left to do."""
    situation = Situation(per_s=200)
    situation.lag_s = MIN_UNDER_WAY / 200 / 3
    assert situation.throttle.room() >= 64
    situation.lag_s = MIN_UNDER_WAY / 200 * 2
    assert situation.throttle.room() < 0


@pytest.mark.parametrize("delivered_per_s", [DELIVERED_PER_S, 500])
def test_intake_and_lag_settle_at_the_capacity(delivered_per_s: int) -> None:
    """Producers want twice of what is delivered: the queue stays small, the intake at capacity."""
    situation = Situation(per_s=2 * delivered_per_s)
    queue, admitted, queues, step_s = 0.0, 0, list[float](), 0.005
    for n in range(4_000):
        situation.now += step_s
        if n % 2 and situation.throttle.room() >= 64:
            changes = situation.throttle.batch_size(round(4 * delivered_per_s * step_s) + 64)
            situation.throttle.committed(changes)
            queue, admitted = queue + changes, admitted + changes
        queue = max(0.0, queue - delivered_per_s * step_s)
        if n % 20 == 0:  # a lag is measured now and then
            situation.lag_s = queue / delivered_per_s
        queues.append(queue)
    assert admitted / (4_000 * step_s) == pytest.approx(delivered_per_s, rel=0.05)
    settled = queues[len(queues) // 2 :]
    assert max(settled) <= 4 * max(MIN_UNDER_WAY, delivered_per_s * TARGET.total_seconds())
    idle = sum(queue == 0 for queue in settled) / len(settled)
    assert idle <= 0.05, "the workers are hardly ever idle"


def test_a_target_of_zero_switches_the_throttle_off() -> None:
    situation = Situation(target=timedelta())
    situation.lag_s = 60
    assert situation.throttle.room() == math.inf
    assert situation.throttle.batch_size(512) == 512
    situation.throttle.refuse_late(1_000_000)


def test_what_would_wait_longer_than_the_longest_delay_is_refused_with_a_time_to_come_back() -> None:
    situation = Situation(max_delay_s=2)
    situation.lag_s = 2 * TARGET.total_seconds()
    situation.throttle.refuse_late(DELIVERED_PER_S // 2)
    with pytest.raises(Overloaded) as refused:
        situation.throttle.refuse_late(DELIVERED_PER_S * 3)
    assert refused.value.retry_after_s >= 2
    situation.lag_s = 0
    situation.throttle.refuse_late(situation.throttle.limit())
