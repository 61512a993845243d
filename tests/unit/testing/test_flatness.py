"""The verdict of a soak about a series of measurements."""

import random

import pytest

from tests.soak.flatness import second_half, trend_of

LEVEL = 100.0


def series(per_hour: float, noise: float, count: int = 240) -> list[tuple[float, float]]:
    source = random.Random(7)
    return [(5.0 * n, LEVEL + per_hour * n * 5 / 3600 + source.gauss(0, noise)) for n in range(count)]


def test_noise_without_growth_is_flat() -> None:
    assert trend_of(series(0, 5)).is_flat


def test_growth_within_the_noise_is_flat() -> None:
    assert trend_of(series(4, 20)).is_flat


def test_growth_of_at_most_three_percent_an_hour_is_flat() -> None:
    assert trend_of(series(2.9, 0)).is_flat


def test_growth_beyond_three_percent_and_the_noise_is_not_flat() -> None:
    trend = trend_of(series(30, 1))
    assert not trend.is_flat
    assert trend.share_per_hour == pytest.approx(0.3, rel=0.2)


def test_a_series_that_shrinks_is_flat() -> None:
    assert trend_of(series(-50, 1)).is_flat


def test_a_step_in_the_first_half_does_not_count() -> None:
    points = [(float(n), 50.0 if n < 40 else 100.0) for n in range(100)]
    assert trend_of(second_half(points)).is_flat


def test_a_trend_needs_three_points() -> None:
    with pytest.raises(ValueError, match="three points"):
        trend_of([(0.0, 1.0), (1.0, 2.0)])
