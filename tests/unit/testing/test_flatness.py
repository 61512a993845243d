"""The judgement of the soak on series of measurements."""

import random

import pytest

from tests.soak.flatness import second_half, trend_of

MIB = 1024.0**2
BASE = 100 * MIB
TIMES = [float(second) for second in range(0, 900, 3)]
"""A quarter of an hour."""


def noisy(values: list[float], seed: int = 1) -> list[tuple[float, float]]:
    generator = random.Random(seed)
    return [(at, value + generator.gauss(0, 0.1 * MIB)) for at, value in zip(TIMES, values, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_flat(seed: int) -> None:
    trend = trend_of(noisy([BASE for _ in TIMES], seed))
    assert trend.is_flat
    assert trend.level == pytest.approx(BASE, rel=0.01)
    assert trend.at_least_per_hour <= trend.per_hour <= trend.at_most_per_hour


def test_a_leak_is_not_flat() -> None:
    trend = trend_of(noisy([BASE + at * 2 * MIB / 900 for at in TIMES]))
    assert not trend.is_flat
    assert trend.per_hour == pytest.approx(8 * MIB, rel=0.1)
    assert trend.share(trend.per_hour) == pytest.approx(0.08, rel=0.1)


def test_a_leak_within_the_limit_is_flat() -> None:
    assert trend_of(noisy([BASE + at * 0.5 * MIB / 900 for at in TIMES])).is_flat


def test_growth_of_a_small_process_is_tolerated_up_to_a_limit() -> None:
    points = [(at, 5 * MIB + at * 0.2 * MIB / 900) for at in TIMES]
    assert not trend_of(points).is_flat
    assert trend_of(points, MIB).is_flat
    assert not trend_of(points, 0.5 * MIB).is_flat


def test_one_step_is_flat_and_a_staircase_is_not() -> None:
    assert trend_of(noisy([BASE + MIB * (at > 300) for at in TIMES])).is_flat
    assert not trend_of(noisy([BASE + MIB * (at // 180) for at in TIMES])).is_flat


def test_a_sawtooth_is_flat_and_one_on_a_leak_is_not() -> None:
    teeth = [BASE + (at % 60) / 60 * 2 * MIB for at in TIMES]
    assert trend_of(noisy(teeth)).is_flat
    rising = [tooth + at * 3 * MIB / 900 for tooth, at in zip(teeth, TIMES, strict=True)]
    assert not trend_of(noisy(rising)).is_flat


def test_what_shrinks_and_what_is_nothing_is_flat() -> None:
    assert trend_of(noisy([BASE - at * 5 * MIB / 900 for at in TIMES])).is_flat
    assert trend_of([(at, 0.0) for at in TIMES]).is_flat


def test_only_the_second_half_counts() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0)]
    assert second_half(points) == [(2.0, 3.0), (3.0, 4.0), (4.0, 5.0)]
    with pytest.raises(ValueError, match="four points"):
        trend_of(second_half(points))
