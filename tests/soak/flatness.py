"""Whether a series of measurements grows. Pure.

Memory develops in steps and saw-teeth: an allocator takes it from the system in blocks, a collector returns
it now and then, and neighbouring measurements are not independent. So the slope is the median of the slopes
between all pairs of block means (Theil and Sen), and its interval comes from the ranks of those (Kendall's
tau): one step is no trend, a staircase is.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

BLOCKS = 24
"""Neighbouring measurements are averaged into this number of blocks."""
MAX_SHARE_PER_HOUR = 0.03
_DEVIATIONS = 2.576
"""Of the normal distribution, for an interval that has the slope in 99 of 100 series."""
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """The mean level of a series, and its slope in an hour with the interval of 99 % around it."""

    level: float
    per_hour: float
    at_least_per_hour: float
    at_most_per_hour: float
    tolerance_per_hour: float = 0.0
    """Growth that is not judged: what an allocator keeps of each new peak."""

    def share(self, per_hour: float) -> float:
        """Growth in an hour as a share of the level."""
        return per_hour / self.level if self.level else 0.0

    @property
    def is_flat(self) -> bool:
        """False if it certainly grows by more than 3 % of its level in an hour and more than is tolerated."""
        return self.at_least_per_hour <= max(MAX_SHARE_PER_HOUR * self.level, self.tolerance_per_hour)


def second_half(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The measurements (seconds, value) of the second half of the time."""
    middle = (points[0][0] + points[-1][0]) / 2
    return [point for point in points if point[0] >= middle]


def trend_of(points: Sequence[tuple[float, float]], tolerance_per_hour: float = 0.0) -> Trend:
    """Raises `ValueError` for fewer than four points: no interval can be given."""
    size = max(1, len(points) // BLOCKS)
    blocks = [
        (
            statistics.fmean(at for at, _ in points[start : start + size]),
            statistics.fmean(value for _, value in points[start : start + size]),
        )
        for start in range(0, len(points) - size + 1, size)
    ]
    number = len(blocks)
    if number < 4:
        raise ValueError("a trend needs four points")
    slopes = sorted(
        (value - earlier_value) / (at - earlier_at) * _HOUR_S
        for (earlier_at, earlier_value), (at, value) in combinations(blocks, 2)
    )
    deviation = (number * (number - 1) * (2 * number + 5) / 18) ** 0.5
    lowest = max(0, round((len(slopes) - _DEVIATIONS * deviation) / 2))
    level = statistics.fmean(value for _, value in blocks)
    highest = len(slopes) - 1 - lowest
    return Trend(level, statistics.median(slopes), slopes[lowest], slopes[highest], tolerance_per_hour)
