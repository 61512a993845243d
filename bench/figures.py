"""The figures of a measurement and their arithmetic. Pure: nothing here reads a clock."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value and its bound, if it has one."""

    bench: str
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value keeps its bound; None without a bound."""
        if self.at_most is None and self.at_least is None:
            return None
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.value <= high

    @property
    def bound(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of latencies, in milliseconds."""

    p50: float
    p99: float
    max: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed. Raises `ValueError` without
    values.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(seconds: Sequence[float]) -> Spread:
    return Spread(
        percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000, percentile(seconds, 1) * 1000
    )


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of neighbours. A disturbance of the machine affects both values of a pair."""
    return statistics.median(
        numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)
    )


def latencies(sent: Mapping[str, float], arrived: Mapping[str, float]) -> list[float]:
    """Seconds from each request to its notification. Raises `ValueError` if a notification is missing."""
    lost = [resource_id for resource_id in sent if resource_id not in arrived]
    if lost:
        raise ValueError(f"{len(lost)} of {len(sent)} never arrived, for example {lost[0]}")
    return [arrived[resource_id] - at for resource_id, at in sent.items()]
