"""Whether a series of measurements is flat. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

BLOCKS = 12
"""Neighbouring measurements are averaged into this number of blocks: they are not independent."""
MAX_SHARE_PER_HOUR = 0.03
MAX_STANDARD_ERRORS = 3.0
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """The regression line through a series: its mean level, its slope and the standard error of that."""

    level: float
    per_hour: float
    error_per_hour: float

    @property
    def share_per_hour(self) -> float:
        """Growth in an hour as a share of the level."""
        return self.per_hour / self.level if self.level else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether it grows by at most 3 % of its level in an hour, or by no more than its noise explains."""
        return (
            self.share_per_hour <= MAX_SHARE_PER_HOUR
            or self.per_hour <= MAX_STANDARD_ERRORS * self.error_per_hour
        )


def second_half(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The measurements (seconds, value) of the second half of the time."""
    middle = (points[0][0] + points[-1][0]) / 2
    return [point for point in points if point[0] >= middle]


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """Least squares over the means of blocks. Raises `ValueError` for fewer than three points."""
    if len(points) < 3:
        raise ValueError("a trend needs three points")
    size = max(1, len(points) // BLOCKS)
    blocks = [points[start : start + size] for start in range(0, len(points) - size + 1, size)]
    times = [statistics.fmean(at for at, _ in block) for block in blocks]
    values = [statistics.fmean(value for _, value in block) for block in blocks]
    slope, intercept = statistics.linear_regression(times, values)
    middle = statistics.fmean(times)
    spread = sum((at - middle) ** 2 for at in times)
    residuals = sum((value - intercept - slope * at) ** 2 for at, value in zip(times, values, strict=True))
    error = (residuals / (len(times) - 2) / spread) ** 0.5
    return Trend(statistics.fmean(values), slope * _HOUR_S, error * _HOUR_S)
