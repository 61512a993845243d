"""The token bucket by key."""

import pytest

from broker.rates import Rates


class Time:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_is_taken_at_once_and_then_the_rate() -> None:
    time = Time()
    rates: Rates[str] = Rates(10, 20, time)
    assert [rates.take("a") for _ in range(20)] == [0.0] * 20
    assert rates.take("a") == pytest.approx(0.1)
    time.now_s += 1
    assert [rates.take("a") for _ in range(10)] == [0.0] * 10
    assert rates.take("a") == pytest.approx(0.1)


def test_a_refused_one_takes_nothing() -> None:
    time = Time()
    rates: Rates[str] = Rates(1, 1, time)
    rates.take("a")
    for _ in range(100):
        assert rates.take("a") == pytest.approx(1)
    time.now_s += 1
    assert rates.take("a") == 0


def test_keys_do_not_share() -> None:
    rates: Rates[str] = Rates(1, 1, Time())
    assert rates.take("a") == 0
    assert rates.take("a") > 0
    assert rates.take("b") == 0


def test_reservations_follow_one_another() -> None:
    rates: Rates[str] = Rates(2, 2, Time())
    assert [rates.reserve("a") for _ in range(5)] == pytest.approx([0, 0, 0.5, 1.0, 1.5])


def test_a_long_pause_gives_no_more_than_the_burst() -> None:
    time = Time()
    rates: Rates[str] = Rates(10, 5, time)
    rates.take("a")
    time.now_s += 3_600
    assert [rates.take("a") == 0 for _ in range(7)] == [True] * 5 + [False] * 2
