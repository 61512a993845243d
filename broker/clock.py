"""Wall-clock time of this machine, for the timestamps that the broker writes, and FHIR instants.

Classes that write timestamps take a `Clock`, so that a test can set the time. Due times, leases and their
comparisons don't come from here: the scripts of the store use the TIME of Redis. Timeouts and intervals use
`time.monotonic`.
"""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """The current time; a test may replace it by one that it sets."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def to_instant(at_ms: int) -> str:
    """An epoch time in milliseconds as a FHIR instant, `2026-01-02T03:04:05.678Z`."""
    return f"{_to_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _to_second(at_s: int) -> str:
    """Cached, because many timestamps fall into the same second."""
    return datetime.fromtimestamp(at_s, tz=UTC).replace(tzinfo=None).isoformat()
