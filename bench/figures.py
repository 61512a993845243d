"""The values of a measurement, and the arithmetic between what was timed and what is told. Nothing here looks at a clock."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and the bound it is held to, if there is one."""

    bench: str
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool | None:
        """None where there is no bound."""
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
    """The smallest value that at least this share of them does not exceed. Raises `ValueError` for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(seconds: Sequence[float]) -> Spread:
    return Spread(
        percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000, percentile(seconds, 1) * 1000
    )


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of neighbours: what disturbs the machine for a while disturbs both of a pair."""
    return statistics.median(one / other for one, other in zip(numerators, denominators, strict=True))


def latencies(sent: Mapping[str, float], arrived: Mapping[str, float]) -> list[float]:
    """Seconds from each request to its notification. Raises `ValueError` if any is missing: nothing may be lost."""
    lost = [one for one in sent if one not in arrived]
    if lost:
        raise ValueError(f"{len(lost)} of {len(sent)} never arrived, {lost[0]} among them")
    return [arrived[one] - at for one, at in sent.items()]
