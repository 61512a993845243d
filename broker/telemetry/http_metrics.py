"""Counts answered HTTP requests: rate, errors and duration by the row of the route, never by the path.

`RequestLog` calls it. The methods, rows and statuses are few, whatever clients send.
"""

from functools import lru_cache
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from broker.telemetry import metrics


class _Series(NamedTuple):
    requests: Counter
    duration: Histogram


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """`seconds` from the head of the request to the head of the answer."""
    series = _series(method, route, status)
    series.requests.inc()
    series.duration.observe(seconds)


@lru_cache(maxsize=4_096)
def _series(method: str, route: str, status: int) -> _Series:
    """To look a series up takes longer than to count in it."""
    return _Series(
        metrics.http_requests.labels(method, route, str(status)), metrics.http_duration.labels(method, route)
    )
